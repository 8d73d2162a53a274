"""Training and prediction on the user's images."""
