"""Frozen values that workflows return and reports draw."""
