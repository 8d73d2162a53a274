"""The results of a search, for people and for programs."""
