"""How good a network is: the value, the evaluators that determine it, and the estimate that needs no data."""
