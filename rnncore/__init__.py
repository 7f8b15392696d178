"""rnncore: recurrent networks (Elman RNN, LSTM, GRU and cells of your own), forward and backward, fast.

>>> import numpy as np
>>> from rnncore import Recurrent
>>> rnn = Recurrent("lstm", input_size=8, hidden_size=16, seed=0, backend="numpy")
>>> output, (h, c) = rnn(np.zeros((5, 2, 8), dtype="float32"))
>>> output.shape, h.shape
((5, 2, 16), (1, 2, 16))
"""

from rnncore_kernels.cells import GRU, LSTM, Elman

from .errors import BackendUnavailableError
from .frozen import Frozen
from .gradients import Gradients, clip_grad_norm
from .machine import show_config
from .recurrent import Recurrent
from .registry import backends
from .tape import Tape
from .version import __version__

__all__ = [
    "GRU",
    "LSTM",
    "BackendUnavailableError",
    "Elman",
    "Frozen",
    "Gradients",
    "Recurrent",
    "Tape",
    "__version__",
    "backends",
    "clip_grad_norm",
    "show_config",
]
