"""Reports as self-contained HTML files, which load nothing."""
