"""An origin: a server outside of the provider that Workers fetch from."""
