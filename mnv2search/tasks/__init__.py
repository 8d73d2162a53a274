"""What a network learns: losses and metrics of each task."""
