"""Latency: devices, the one measuring loop, and its prediction."""
