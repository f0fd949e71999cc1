"""`python -m povwatch`: the same as `povwatch`."""

from povwatch.cli import main

if __name__ == "__main__":
    main()
