"""Artifacts of runtimes, written directly from the plan."""
