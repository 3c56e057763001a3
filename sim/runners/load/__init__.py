"""The open-loop load driver: when to send, how to send, what to write down, and when to stop."""
