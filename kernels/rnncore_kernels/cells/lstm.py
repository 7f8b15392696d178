"""Long short-term memory with a forget gate.

    i, f, o = sigmoid(...)    g = tanh(...)    c_t = f c_{t-1} + i g    h_t = o tanh(c_t)

S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9 (1997); the forget gate:
F. Gers, J. Schmidhuber and F. Cummins, Learning to Forget, Neural Computation 12 (2000). Options:
F. Gers, N. Schraudolph and J. Schmidhuber, Learning Precise Timing with LSTM Networks, JMLR 3 (2002), peepholes;
K. Greff et al., LSTM: A Search Space Odyssey, IEEE TNNLS 28 (2017), arXiv:1503.04069, input and forget gate coupled;
H. Sak, A. Senior and F. Beaufays, Long Short-Term Memory Based Recurrent Neural Network Architectures for Large
Vocabulary Speech Recognition, 2014, arXiv:1402.1128, a projection of the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .cell import Cell, check_flag, without_sizes
from .functions import observe, project, sigmoid, tanh


@without_sizes
@dataclass(frozen=True, repr=False, kw_only=True)
class LSTM(Cell):
    """The LSTM cell with input, forget, cell and output gate (rows of the weights in this order), state (h, c).

    Args:
        peephole: whether gates see the cell: i and f that before the step, o that behind it, each times a weight for
            each unit (`peephole_i`, `peephole_f`, `peephole_o`).
        coupled: whether the forget gate is 1 - i; it then has no weights.
        projection: width of the output h = W_hr (o tanh(c)), whose matrix is `weight_hr` (PyTorch's proj_size); None
            for the hidden size and no matrix.

    Raises:
        TypeError: a flag is neither True nor False, or sizes are given, which a network of the cell has.
        ValueError: the projection is no width.
    """

    peephole: bool = False
    coupled: bool = False
    projection: int | None = None

    states = "h c"

    def __post_init__(self) -> None:
        check_flag("LSTM", "peephole", self.peephole)
        check_flag("LSTM", "coupled", self.coupled)
        if self.projection is not None and (type(self.projection) is not int or self.projection < 1):
            raise ValueError(f"LSTM: projection: expected a whole number from 1 on, or None, got {self.projection!r}")

    @property
    def gates(self) -> str:  # type: ignore[override]
        return "i g o" if self.coupled else "i f g o"

    @property
    def units(self) -> str:  # type: ignore[override]
        seeing = (gate for gate in self.gates if gate != "g" and self.peephole)
        return " ".join(f"peephole_{gate}" for gate in seeing)

    def step(
        self, c: Any, i: Any, g: Any, o: Any, f: Any = 0, peephole_i: Any = 0, peephole_f: Any = 0, peephole_o: Any = 0
    ) -> Any:  # fmt: skip
        i = observe("i", sigmoid(i + peephole_i * c if self.peephole else i))
        f = observe("f", 1 - i if self.coupled else sigmoid(f + peephole_f * c if self.peephole else f))
        c = f * c + i * observe("g", tanh(g))
        h = observe("o", sigmoid(o + peephole_o * c if self.peephole else o)) * tanh(c)
        return project("hr", h, self.projection) if self.projection else h, c
