"""ncnn networks."""
