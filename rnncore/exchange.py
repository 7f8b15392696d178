"""`Exchange`: a network from and to PyTorch, ONNX and Keras."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from .network import Network


class Exchange(Network):
    """A network that other libraries' networks can be made into, and it into theirs; see `Recurrent`."""

    @classmethod
    def from_torch(
        cls, module: Any, backend: str = "auto", num_threads: int | None = None, seed: int | None = None
    ) -> Self:
        """A network with a copy of the parameters of a `torch.nn.RNN`, `LSTM` or `GRU` (as update="carry").

        Args:
            module: the module.
            backend, num_threads: as in the constructor.
            seed: of dropout.

        Raises:
            TypeError: another kind of module, or a dtype other than float32 and float64.
            ValueError: its parameters have other names than PyTorch's.
        """
        from .pytorch import from_torch

        return from_torch(cls, module, backend=backend, num_threads=num_threads, seed=seed)

    def to_torch(self) -> Any:
        """A `torch.nn.RNN`, `LSTM` or `GRU` with the same parameters, to the bit.

        Those of GRU(update="candidate") are converted: the update gate's rows are negated, as in `load_state_dict`.
        Those of heads get the zeros around them. Its products are those of float32, whatever `compute` says here.

        Raises:
            ValueError: PyTorch has no such cell (a GRU must have reset="after"), or no such network, as with
                input_size=None.
            ImportError: PyTorch is not installed.
        """
        from .pytorch import to_torch

        return to_torch(self)

    @classmethod
    def from_onnx(
        cls,
        model: Any,
        node: str | int | Sequence[str | int] | None = None,
        batch_first: bool | None = None,
        backend: str = "auto",
        num_threads: int | None = None,
    ) -> Self:
        """A network with the weights of an RNN, GRU or LSTM node of an ONNX model, which computes as the node does.

        The output is the node's Y with the directions side by side, (T, B, D*H), the state Y_h or (Y_h, Y_c),
        (D, B, H). Initial states that are constants of the model become `initial_state`, with which calls begin; those
        that the model is given or computes are `state` in each call, and sequence_lens are `lengths`.

        Args:
            model: the path of a model, or an `onnx.ModelProto`.
            node: the node's name (that of its first output where it has none), or its index among the recurrent nodes;
                a list of these for several layers, from the first. None for the only one that there is.
            batch_first: as in the constructor; None for the node's layout.
            backend, num_threads: as in the constructor.

        Raises:
            FileNotFoundError: there is no file.
            ImportError: the package onnx is not installed.
            ValueError, TypeError: the model has no such node, which lists those it has; its weights are no constants;
                or an attribute has no counterpart here, which the message names.
        """
        from .interchange.onnx_import import from_onnx

        return from_onnx(cls, model, node, batch_first=batch_first, backend=backend, num_threads=num_threads)

    def to_onnx(self, path: str | os.PathLike[str] | None = None, state: bool = False, lengths: bool = False) -> Any:
        """An ONNX model that computes `rnn(x)`: one node a layer, checked by the package onnx.

        Its input is `x`, its outputs are `output` and the final states by the cell's names, `h` or `h` and `c`, in the
        shapes that they have here; T and B are free. Dropout has no effect, as in inference.
        Products are those of float32, whatever `compute` says here.

        Args:
            path: a file that it is also written to; None for none.
            state: whether the initial states are inputs too, `h_0`, `c_0`, (L*D, B, H); else they are zeros.
            lengths: whether `lengths` is an input too, (B,) of int32.

        Returns:
            The model, an `onnx.ModelProto`.

        Raises:
            ValueError: ONNX has no such cell, or no such network, as with input_size=None.
            ImportError: the package onnx is not installed.
        """
        from .interchange.onnx_export import to_onnx

        return to_onnx(self, path, state=state, lengths=lengths)

    @classmethod
    def from_keras(
        cls,
        source: Any,
        layer: str | int | Sequence[str | int] | None = None,
        config: Mapping[str, Any] | None = None,
        batch_first: bool = True,
        backend: str = "auto",
        num_threads: int | None = None,
        seed: int | None = None,
    ) -> Self:
        """A network with the weights of a SimpleRNN, LSTM, GRU or Bidirectional layer of Keras, computing the same.

        With go_backwards=True it has direction="reverse": its output is in the order of x, where Keras turns it round.
        What Keras returns with return_sequences=False is the final state, `h` of all directions side by side. Past a
        row's end the output is 0, where Keras repeats the last unless it is given zero_output_for_mask. In training it
        drops as Keras does, the same elements at all steps: `dropout` of the first layer is `input_dropout` here.

        Args:
            source: a layer of Keras, a list of layers, one upon the other, a model, or the path of a `.keras` file or
                of weights in an HDF5 file (`.weights.h5`, `.h5`). Files are read by h5py, without Keras.
            layer: of a model or file with several, the name of one or its index among the recurrent ones; a list of
                these for several layers, from the first. None for the only one that there is. A `.weights.h5` file has
                no order, and takes names alone; where several layers have one name, they are called by their keys in
                the file, "sequential_1/lstm" say.
            config: options of the layers that stand before theirs: activation, recurrent_activation, reset_after,
                go_backwards, merge_mode, dropout, recurrent_dropout. A file of weights alone has none but what follows
                from shapes; they are Keras' defaults, and {"activation": "relu"}, say, is another.
            batch_first: as in the constructor; True as in Keras.
            backend, num_threads: as in the constructor.
            seed: of dropout.

        Raises:
            FileNotFoundError: there is no file.
            ImportError: h5py is not installed, and `source` is a file.
            ValueError, TypeError: there is no such layer, and the message lists those there are, or an option has no
                counterpart here, which the message names.
        """
        from .interchange.keras_import import from_keras

        options: dict[str, Any] = {"backend": backend, "num_threads": num_threads, "seed": seed}
        return from_keras(cls, source, layer, config=config, batch_first=batch_first, **options)
