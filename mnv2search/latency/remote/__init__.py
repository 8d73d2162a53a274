"""Devices on other machines."""
