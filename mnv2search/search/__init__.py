"""Which networks to evaluate next: ask, tell, and the Optuna samplers around it."""
