"""Two engines that execute a Flow: one to read (SimPy), one for volume (compiled). They agree request by request."""
