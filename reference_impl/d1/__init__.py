"""D1: one SQLite database, one query at a time, with its migrations and its counters of rows."""
