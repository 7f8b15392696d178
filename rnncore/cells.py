"""All that the definition of a cell of your own needs, and the library's cells; docs/cells.md shows how."""

from rnncore_kernels.cells import *  # noqa: F403
from rnncore_kernels.cells import __all__ as __all__
