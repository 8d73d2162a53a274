"""Benchmark programs that come with the runtimes; one module a program."""
