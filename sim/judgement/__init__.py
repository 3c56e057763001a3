"""Judge a Result: verdicts on targets, availability, comparison with a measurement, and cost."""
