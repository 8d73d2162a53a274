"""Accuracy of networks: values, evaluators, and an estimate without data."""
