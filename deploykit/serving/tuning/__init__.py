"""Finding how to serve a model: the grid, the search, the measuring, and how the outcome is shown."""
