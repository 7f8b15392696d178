"""What a trained network does inside, and why it may not learn: arrays, and pictures of them.

Each function returns arrays in the host's memory, whatever backend the network runs on, and draws them where `ax` is
given, an axes of matplotlib's (`pip install matplotlib`), which is imported for nothing else. `figure`
makes axes that look like the rest of this library's pictures, in light and in dark::

    with insight.figure("gates.svg") as ax:
        insight.gates(rnn, x, labels=words, ax=ax)

Options of a call (`state`, `lengths`, `inputs`, `resets`, `reset_state`) are those of `Recurrent.__call__`.
"""

from .figures import figure
from .flow import gradient_flow
from .gates import gates
from .salience import saliency
from .spectrum import eigenvalues
from .trajectories import Trajectory, trajectory

__all__ = ["Trajectory", "eigenvalues", "figure", "gates", "gradient_flow", "saliency", "trajectory"]
