"""The search: what to evaluate next, under a measured budget."""
