"""Search for accurate networks within a measured budget."""
