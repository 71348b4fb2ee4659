"""Results as rows, tables, charts and documents."""
