"""Conformance suites every adapter must pass, and tiny models to pass them with."""
