"""The wallboard: what people on the floor look up to."""
