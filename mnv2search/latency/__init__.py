"""Latency: devices, the measuring loop, and prediction."""
