"""One module per way of determining an accuracy."""
