"""SQLite as the platform offers it: engines behind one interface, and the statements that it refuses."""
