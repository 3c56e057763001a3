"""What a schedule can be played on: a model, the reference, a live deployment, or a recording. One file a runner."""
