"""The parts of a training loop that NumPy lacks: layers around a recurrent network, a loss, an optimiser and batches.

Everything is NumPy, small, and explicit: a layer is called in the forward pass, and its `backward` takes the input of
that call again with the cotangent of the result. A loop reads::

    logits = head(last)
    loss, grad_logits = cross_entropy(logits, labels)
    grad_last, head_grads = head.backward(last, grad_logits)
    grads = collect(rnn=rnn.backward(tape, grad_last=grad_last), head=head_grads)
    clip_grad_norm(grads, 1.0)
    adam.step(grads)

Shapes: T steps, B rows, "..." any number of axes, the same in all arrays of one call.
"""

from .adam import Adam, cosine
from .attention import attend, attend_backward
from .batches import bucketed, pad
from .collect import collect
from .layers import Embedding, Linear
from .loss import cross_entropy, log_softmax

__all__ = [
    "Adam",
    "Embedding",
    "Linear",
    "attend",
    "attend_backward",
    "bucketed",
    "collect",
    "cosine",
    "cross_entropy",
    "log_softmax",
    "pad",
]
