"""The version of rnncore, this package included."""

__version__ = "0.1.0"
