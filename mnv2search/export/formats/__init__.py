"""One exporter a file; `mnv2search.plugins` names them by suffix."""
