"""The default search strategy and its surrogate."""
