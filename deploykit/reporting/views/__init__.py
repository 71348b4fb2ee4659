"""Charts, tables and pages."""
