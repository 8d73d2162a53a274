"""Commands on datasets, trainings and trained weights."""
