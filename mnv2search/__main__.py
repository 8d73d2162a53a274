"""`python -m mnv2search` is the command `mnv2search`."""

from mnv2search.cli.main import main

if __name__ == "__main__":
    main()
