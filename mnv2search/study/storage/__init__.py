"""The Optuna study of a run, in memory and in a SQLite file."""
