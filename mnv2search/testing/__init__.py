"""Test helpers for plug-ins: Hypothesis strategies, and one contract class for each protocol."""
