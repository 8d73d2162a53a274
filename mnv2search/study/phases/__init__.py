"""Phases of a search, in the order in which the engine runs them."""
