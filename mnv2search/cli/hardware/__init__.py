"""Commands about devices and latency."""
