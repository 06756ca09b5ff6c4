"""The detectors that the cascade is compared with: HOG with a linear SVM, and a three-level MTCNN."""
