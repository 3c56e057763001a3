"""Workers AI: a stub of its endpoint, with the account's limits."""
