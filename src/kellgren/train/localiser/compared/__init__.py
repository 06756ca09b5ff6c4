"""The detectors that the cascade is compared with, apart from the way that grades.

`hog` (HOG with a linear SVM) and `mtcnn` (three levels) are the detectors, `recipe` says what and how,
`training` trains both, and `detector` is what all detectors can do. `kellgren.evaluate.detection` judges
them.
"""
