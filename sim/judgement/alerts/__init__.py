"""Burn-rate alerts: which targets can be alerted on, their rules, the files of Prometheus, and a replay of both."""
