"""Data sets of graded knees. Numpy and OpenCV only.

In the order in which data pass: `imports` and `oarsi` arrange published archives and readings as a data set
folder, `verify` checks a download against `manifest`, `splitting` deals knees to splits and folds, `folder`
reads the result, `films` reads whole films with boxes. The audit: `inventory` lists what a folder holds,
`fingerprint` and `overlay` find copies, `audit` reports what is wrong.
"""

from kellgren.data.folder import DataSet, Knee, load

__all__ = ["DataSet", "Knee", "load"]
