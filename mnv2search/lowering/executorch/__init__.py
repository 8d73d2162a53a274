"""ExecuTorch programs on XNNPACK."""
