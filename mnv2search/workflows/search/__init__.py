"""Run, resume and verify a search, and ship its networks."""
