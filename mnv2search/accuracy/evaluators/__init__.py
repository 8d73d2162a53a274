"""The built-in evaluators, one per module."""
