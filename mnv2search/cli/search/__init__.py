"""Commands of a search."""
