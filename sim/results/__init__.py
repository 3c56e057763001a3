"""Results of one run: a row per request, a row per station, their metrics, and their file."""
