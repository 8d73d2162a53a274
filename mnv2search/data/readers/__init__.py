"""Readers of data sets: folders, tables, COCO, Pascal VOC and masks."""
