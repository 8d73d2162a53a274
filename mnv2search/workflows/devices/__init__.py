"""Devices: measure, profile, probe, audit of predictions."""
