"""Heads: classifier, detector, segmenter."""
