"""Networks trained on the user's own images: data, recipes, the loop, checkpoints."""
