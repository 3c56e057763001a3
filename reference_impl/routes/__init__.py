"""Routes as data: how a route is read, how a request finds its route, and how its steps are executed."""
