"""The server's end of the device tunnel."""
