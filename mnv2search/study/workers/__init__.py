"""Searches whose networks are evaluated by several processes, which share an Optuna storage."""
