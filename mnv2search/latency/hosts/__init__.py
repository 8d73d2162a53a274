"""Transports of files, programs and their output to and from other machines; one module per kind of connection."""
