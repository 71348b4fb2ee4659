"""Edits of models: of graphs, layers and weights. Techniques are made of them."""
