"""Two executions of one Flow: one to be read (SimPy), one for volume (compiled). They agree request by request."""
