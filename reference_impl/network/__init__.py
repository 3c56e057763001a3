"""The network between client and edge, for requests over HTTP."""
