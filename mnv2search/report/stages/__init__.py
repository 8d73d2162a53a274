"""Reports on the stages of networks: the cost of each stage, and the differences between two networks."""
