"""Networks compiled to files, and evaluation of those files."""
