"""The training loop, with optimizers, precision, distributed training, throughput and checkpoints."""
