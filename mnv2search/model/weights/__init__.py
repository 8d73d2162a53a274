"""Files of weights: read without running code from them, and written."""
