"""What came out of one run: a row a request, a row a station; metrics of it, and its file."""
