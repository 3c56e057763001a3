"""R2: objects in a bucket."""
