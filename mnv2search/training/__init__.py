"""The training loop: optimizers, precision, several processes, throughput, checkpoints."""
