"""The commands as Python functions, independent of the command line."""
