"""One section of what the browser shows per file; a section with a title is a panel."""
