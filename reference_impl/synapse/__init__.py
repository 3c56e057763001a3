"""CloudSynapse: a council of three roles in one Durable Object, and its WebSockets."""
