"""Diagnose the installation and this machine, without slow imports."""
