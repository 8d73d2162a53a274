"""Values of explanations and comparisons of networks, stage by stage."""
