"""Import groups: which modules the children of a group find imported already; one file per group."""
