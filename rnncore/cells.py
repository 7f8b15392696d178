"""All that the definition of a cell of your own needs, and the library's cells; docs/cells.md shows how."""

from typing import TYPE_CHECKING, Any

from rnncore_kernels import cells
from rnncore_kernels.cells import __all__ as __all__

if TYPE_CHECKING:
    from rnncore_kernels.cells import *  # noqa: F403


def __getattr__(name: str) -> Any:
    return getattr(cells, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
