"""Durable Objects: single-threaded objects with storage, gates, alarms and sockets."""
