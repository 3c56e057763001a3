"""What every layer may use: errors, scenario tables, checked arguments, files, free memory, views, the version."""
