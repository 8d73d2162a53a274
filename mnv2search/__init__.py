"""Search the MobileNetV2 family under a measured latency budget."""
