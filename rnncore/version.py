"""The version of the package."""

from rnncore_kernels.version import __version__

__all__ = ["__version__"]
