"""Two engines that execute a Flow: a readable one (SimPy) and a fast one (compiled). They agree request by request."""
