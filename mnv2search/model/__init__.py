"""Torch modules from a plan, and reading and writing of weights in published key layouts; import modules by name."""
