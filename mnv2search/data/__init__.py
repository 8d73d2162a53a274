"""Images and scenes: readers, decoding, augmentation and batches."""
