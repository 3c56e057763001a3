"""Routes as data: which requests a route answers, what its steps ask of the instances, and how they are played."""
