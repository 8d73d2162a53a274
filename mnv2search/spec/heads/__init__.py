"""What stands on the features: classifier, detector, segmenter, or a head of another package."""
