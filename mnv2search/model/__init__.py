"""Torch modules from a plan, and weights in and out under published key layouts; import its modules by name."""
