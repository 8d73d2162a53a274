"""Trainings and predictions on the user's images."""
