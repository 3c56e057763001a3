"""WebSocket sessions into Durable Objects: rooms whose members hear each other."""
