"""Evaluations drawn for people: labelled rows with units, rich tables, plots and CSV."""
