"""Checks of a finished run: measured anew, held against the runtime's own converter and against trainings."""
