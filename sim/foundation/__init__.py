"""What every layer may use: errors, files, checked arguments, free memory, the version."""
