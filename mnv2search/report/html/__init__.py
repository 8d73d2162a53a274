"""Reports as HTML files that need no other file and no network."""
