"""A search: run, resume, verify, ship."""
