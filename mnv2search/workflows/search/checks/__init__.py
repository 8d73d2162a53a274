"""Checks of a finished run: repeated measurements, the runtime's own converter, and the ranking by trainings."""
