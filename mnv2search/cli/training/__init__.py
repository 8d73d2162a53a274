"""Commands that train or use trained weights."""
