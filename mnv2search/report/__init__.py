"""Format results as text, tables, plots, HTML, CSV and JSON."""
