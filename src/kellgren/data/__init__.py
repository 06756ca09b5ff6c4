"""Data sets of graded knees: folders, labels, folds. Numpy only."""

from kellgren.data.folder import DataSet, ImageRef, Knee, load

__all__ = ["DataSet", "ImageRef", "Knee", "load"]
