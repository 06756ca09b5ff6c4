"""A radiograph's way in one place: a file in, one assessment per knee out.

In the order in which a film passes: `grader` has it read; `polarity` settles whether bone is bright, and has
it standardised and located; `side` settles which knee each joint is; `grader` predicts once, decides and
measures; `reasons` says why a person must read the knee, `gates` judging the image's quality; `explanation`
gathers what the grade rests on; `assessment` is the result. `batch` does this for many files. `golden`
compares a bundle's answers with those stored in it.
"""
