"""An error sink: a service that collects what went wrong."""
