"""The nouns of deploykit: frozen dataclasses that round-trip to JSON, and the registry of adapters."""
