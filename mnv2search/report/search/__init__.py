"""The results of a search, as text and JSON."""
