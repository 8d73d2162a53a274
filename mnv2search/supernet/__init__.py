"""Shared weights of a search space, and weights inherited from other networks."""
