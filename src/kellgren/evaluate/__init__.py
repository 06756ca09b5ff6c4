"""A split of a data set in, metrics with intervals out."""
