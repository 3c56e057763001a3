"""The open-loop load driver: pacing, senders, recording, and limits."""
