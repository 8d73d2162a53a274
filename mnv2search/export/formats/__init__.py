"""Exporters, one module each; `mnv2search.plugins` lists them by suffix."""
