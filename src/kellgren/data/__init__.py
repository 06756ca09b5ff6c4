"""Data sets of graded knees: folders, labels, folds. Numpy only."""

from kellgren.data.folder import DataSet, Knee, load

__all__ = ["DataSet", "Knee", "load"]
