"""Artifacts a runtime can load, written straight from the plan."""
