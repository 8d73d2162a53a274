"""Latency prediction from measured networks."""
