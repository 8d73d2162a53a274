"""Tasks: datasets, losses, metrics and predictions of classification, detection and segmentation."""
