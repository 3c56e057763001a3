"""What is wrong with a deployment's files, found without running anything."""
