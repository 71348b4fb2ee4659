"""Tokenizers: text in, whole numbers out."""
