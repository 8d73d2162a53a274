"""Counts, published figures and written files of networks, for people and for programs."""
