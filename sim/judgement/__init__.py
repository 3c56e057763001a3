"""A Result in; a verdict, an availability, a comparison or a bill out."""
