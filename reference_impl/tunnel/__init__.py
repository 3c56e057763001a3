"""The far end of the device tunnel."""
