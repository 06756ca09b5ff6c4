"""Makes the localiser, the cascade of Wang et al. 2021 (Sci Rep, "Knee joints localization", eq. 1).

In the order in which data pass: `boxed_film` (a film with boxes and key points), `compose` and `films` (films
composed from crops, simulated, real), `samples` (windows cut from films), `networks` (the two levels of the
paper's Fig. 2), `level` (a level as a stage of training, with eq. 1), `training` (all stages), `export`
(the bundle). `recipe` says what and how. `compared` holds HOG + SVM and MTCNN. Where the paper is silent
(channels, window sizes, samples) the choices are ours and are given in `docs/explanation/localiser.md`.
"""
