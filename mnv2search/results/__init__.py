"""Results of workflows, as frozen values."""
