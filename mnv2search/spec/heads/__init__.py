"""Heads: classifier, detector, segmenter, or a head of another package."""
