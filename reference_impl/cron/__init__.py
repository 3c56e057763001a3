"""Cron triggers: schedules that call the Worker."""
