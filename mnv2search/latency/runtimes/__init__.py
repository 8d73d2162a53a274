"""Runtimes and devices of this package, one module each."""
