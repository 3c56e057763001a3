"""The adapters: sockets, files, certificates and the machine's clock around the sans-IO cores."""
