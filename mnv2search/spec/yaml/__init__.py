"""The YAML form of specs and search spaces."""
