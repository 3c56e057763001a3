"""Databases that statements are measured on: this machine's SQLite, the reference's counter, the real runtime."""
