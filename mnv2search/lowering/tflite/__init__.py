"""TFLite models, and the graphs of operators with channels last that they share with ExecuTorch."""
