"""Trainings of the best networks of a search at its end."""
