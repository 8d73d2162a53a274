"""Reading of weights files without running code from them, and writing."""
