"""The version of deploykit.

Example:
    >>> print(dk.__version__)
    0...
"""

__version__ = "0.1.0"
