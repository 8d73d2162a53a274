"""Latencies, predictions and profiles of devices, for people and for programs."""
