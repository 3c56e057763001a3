"""D1: a SQLite database that runs one query at a time, its migrations, and its counts of rows read and written."""
