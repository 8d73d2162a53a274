"""Measure, profile and probe devices, and audit latency predictions."""
