"""The way of a radiograph in one place: which knee it is, what is found, one file and many."""
