"""The spec language: values, rules, the plan, search spaces and their YAML form."""
