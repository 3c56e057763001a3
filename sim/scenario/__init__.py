"""What is asked: a scenario file, the traffic that follows from it, and where its numbers come from."""
