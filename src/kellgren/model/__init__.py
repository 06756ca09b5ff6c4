"""A network at work: its bundle, its session, the steps from crop to input, and what its answers mean."""
