"""What builds the documentation site; ``python -m docs.tools.site`` is ``make docs``."""
