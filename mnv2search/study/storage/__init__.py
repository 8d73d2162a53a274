"""The Optuna study of a run, in memory and as a SQLite file."""
