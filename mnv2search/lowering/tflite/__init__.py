"""TFLite models, and the channels-last operator graphs that they share with ExecuTorch."""
