"""The notebook user interface of deploykit."""
