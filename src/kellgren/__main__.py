"""`python -m kellgren`, and `torchrun -m kellgren`: the command line."""

from kellgren.cli import main

if __name__ == "__main__":
    main()
