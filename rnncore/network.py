"""`Network`: what a recurrent network keeps - how it is made, saved and loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from rnncore_kernels.cells import Cell
from rnncore_kernels.contract import Array

from .cells_by_name import describe_cell
from .description import Described
from .layout import Layout
from .live import Kept, Live
from .options import check_options, check_seed, check_threads, make_architecture
from .parameters import Parameters, initial_values
from .registry import check_products, make_engine, resolve
from .state_dict import StateDict, from_state_dict, names_hint, read_state_dict
from .states import unwrap_state

SomeNetwork = TypeVar("SomeNetwork", bound="Network")


INSTEAD = {
    "nonlinearity": "the cell Elman({value!r})",
    "activation": "the cell Elman({value!r})",
    "device": "backend='cuda' or backend='numba'",
}
"""What stands here for options of PyTorch's modules."""

P = ParamSpec("P")


def _answering(init: Callable[P, None]) -> Callable[P, None]:
    """`__init__` that answers options of PyTorch's modules, and others that do not exist, with what to write."""
    known = [*signature(init).parameters][1:]

    @wraps(init)
    def answering(*arguments: P.args, **options: P.kwargs) -> None:
        for name in options.keys() & INSTEAD.keys():
            instead = INSTEAD[name].format(value=options[name])
            raise TypeError(f"{name}: expected options of Recurrent, got {name}={options[name]!r}: write {instead}")
        check_options(options, known)
        init(*arguments, **options)

    return answering


class Network(Described):
    """An architecture, the engine that computes it, and its parameters; see `Recurrent`."""

    @_answering
    def __init__(
        self,
        cell: str | Cell,
        input_size: int | None,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        backend: str = "auto",
        dtype: DTypeLike = "float32",
        seed: int | None = None,
        num_threads: int | None = None,
        direction: str = "forward",
        heads: int = 1,
        proj_size: int = 0,
        learn_initial_state: bool = False,
        compute: str | None = None,
        zoneout: float | Mapping[str, float] = 0.0,
        recurrent_dropout: float = 0.0,
        input_dropout: float = 0.0,
        variational: bool = False,
    ) -> None:
        self._architecture = make_architecture(
            cell,
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            dtype=dtype,
            direction=direction,
            heads=heads,
            proj_size=proj_size,
            learn_initial_state=learn_initial_state,
            compute=compute,
            zoneout=zoneout,
            recurrent_dropout=recurrent_dropout,
            input_dropout=input_dropout,
            variational=variational,
        )
        self._num_threads = check_threads(num_threads)
        of_parameters, of_training = _seeds(seed)
        self._backend = resolve(backend)
        check_products("compute", self._architecture.precision, self._backend)
        self._engine = make_engine(self._backend, self._num_threads)
        self._rng = np.random.default_rng(of_training)
        xp = self._engine.xp
        values = initial_values(self._architecture, of_parameters)
        arrays = {name: xp.asarray(value) for name, value in values.items()}
        self._live = Live(arrays)
        self._parameters = Parameters(self._architecture, self._live)
        self._kept: Kept | None = None
        self._layout: Layout | None = None

    def reseed(self, seed: int | None) -> None:
        """Let training draw as in a network made with this seed; None for a fresh one. Parameters stay as they are.

        Raises:
            ValueError, TypeError: `seed` is not an integer of at least 0.
        """
        self._rng = np.random.default_rng(_seeds(seed)[1])

    def _draw_key(self) -> int:
        """The key of the random numbers of a call of training, 64 bits."""
        return int(self._rng.bit_generator.random_raw())

    @property
    def parameters(self) -> Parameters:
        """Parameters by name: live arrays, writable in place. Names, shapes and gate order are PyTorch's.

        Every call computes with what has been written to them, through whatever refers to them: the arrays, views,
        buffers, tensors of other libraries. Inference keeps packed weights for the next call; those packed while
        somebody held a parameter are used again only if its bytes are the same, which every call then compares. Who
        writes through an address alone (`array.ctypes.data`) keeps the array as long as that.
        """
        return self._parameters

    def state_dict(self) -> StateDict:
        """A copy of the parameters by name, which says of which cell they are."""
        arrays = {name: array.copy() for name, array in self._live.arrays.items()}
        return StateDict(arrays, describe_cell(self.cell), self.direction, self.heads, self.zoneout)

    def load_state_dict(self, values: Mapping[str, Any], convention: str | None = None) -> None:
        """Set all parameters, from `state_dict` or from PyTorch's; if one is refused, none is changed.

        Args:
            values: arrays or PyTorch's tensors, by name.
            convention: whose they are, "rnncore" or "torch"; None where `values` say it, as those of `state_dict` and
                `parameters` do, or where both are alike, as for the LSTM, the Elman cell and GRU(update="carry"). The
                update gate of PyTorch's GRU is the other way round than that of `GRU()`, which computes the same, to
                the bit, with that gate's rows of weights and biases negated: so it is converted.

        Raises:
            KeyError: a name is missing or unknown.
            ValueError, TypeError: a shape or dtype is wrong; nobody says whose GRU the values are for, as in a plain
                dict, or they are another GRU's, or of a network with another direction; PyTorch has no such cell; or no
                such convention.
        """
        values = read_state_dict(self._architecture, self._engine.xp, values, convention)
        missing = [name for name in self._parameters if name not in values]
        unknown = [name for name in values if name not in self._parameters]
        if missing or unknown:
            hint = names_hint(self._architecture, missing, unknown)
            raise KeyError(f"state_dict: missing {missing}, unknown {unknown}{hint}")
        self._parameters.update(values)

    @classmethod
    def from_state_dict(
        cls,
        values: Mapping[str, Any] | str | os.PathLike[str],
        convention: str | None = None,
        cell: str | Cell | None = None,
        batch_first: bool = False,
        dropout: float = 0.0,
        backend: str = "auto",
        seed: int | None = None,
        num_threads: int | None = None,
        direction: str | None = None,
        heads: int | None = None,
        prefix: str | Sequence[str] = "",
    ) -> Self:
        """A network with a copy of some parameters: sizes, layers, directions, biases and dtype are theirs.

        It learns its initial state if that is among them, and has the zoneout of a `state_dict`. `bias` is True where
        no layer has a place for biases, an IndRNN of one layer with input_size=None say: nothing depends on it there.

        Args:
            values: arrays or PyTorch's tensors, by name, or the path of a safetensors file.
            convention: whose they are, "rnncore" or "torch" as in `load_state_dict`; "flax" for one cell of Flax
                (`hi.kernel`, `dense_h/kernel`, ...), "keras" for one layer of Keras (`kernel`, `recurrent_kernel`,
                `bias`, in a Bidirectional behind `forward_...` and `backward_...`).
            cell: as in the constructor; None for that of a `state_dict`, with convention="torch" for an LSTM where
                there are four gates, GRU(update="carry") where there are three, with "flax" and "keras" for theirs.
            batch_first, dropout, backend, num_threads: as in the constructor.
            seed: of dropout.
            direction: as in the constructor; None for that of a `state_dict`, else "forward".
            heads: likewise; None for those of a `state_dict`, else 1.
            prefix: beginning of the names that are meant, "encoder.rnn." say, which is left out of them; with "flax"
                and "keras" a list of these for several layers, from the first.

        Raises:
            KeyError: a name is missing or unknown.
            ValueError, TypeError: as in the constructor and `load_state_dict`, or the cell is not known.
        """
        options = {"batch_first": batch_first, "dropout": dropout, "backend": backend}
        options |= {"seed": seed, "num_threads": num_threads}
        return from_state_dict(
            cls, values, convention=convention, cell=cell, direction=direction, heads=heads, prefix=prefix, **options
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture and parameters to a safetensors file; an existing file is replaced whole or not at all.

        Raises:
            OSError: the file cannot be written; FileNotFoundError where its folder does not exist.
        """
        from .storage import save

        save(self, path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        backend: str = "auto",
        cell: str | Cell | None = None,
        num_threads: int | None = None,
        seed: int | None = None,
    ) -> Self:
        """Read a network that `save` wrote.

        Args:
            path: the file.
            backend: as in the constructor.
            cell: needed where the network has a cell of your own.
            num_threads: as in the constructor.
            seed: of dropout.

        Raises:
            FileNotFoundError: there is no file.
            ValueError: it is another kind of file, damaged, or of another format version, or `cell` is not its cell.
            ValueError, TypeError, BackendUnavailableError: another argument is wrong, as in the constructor.
        """
        from .storage import load

        return load(cls, path, backend=backend, cell=cell, num_threads=num_threads, seed=seed)

    @property
    def initial_state(self) -> Any:
        """A copy of the state that calls without one begin with, (L*D, 1, H), or (L*D, B, H) for that batch alone.

        None is zeros, as in every network without `learn_initial_state` but those that `from_onnx` read it for. Rows
        that begin anew without a `reset_state` begin with it, too. It is in the parameters, `h_0` say.
        """
        own = self._architecture.initial_states(self._live.arrays)
        return None if own is None else unwrap_state(tuple([array.copy() for array in own]))

    def _take(self, values: Mapping[str, Any], convention: str | None) -> None:
        """`load_state_dict`, before there has been a call; initial states may be those of one batch alone."""
        states = {name: values[name] for name in self._architecture.initial_names if name in values}
        if any(np.ndim(state) == 3 for state in states.values()):
            self._begin_with(states)
        self.load_state_dict(values, convention)

    def _begin_with(self, states: Mapping[str, Array]) -> None:
        """Let calls without a state begin with these, which become parameters, before there has been a call.

        They are arrays by the parameters' names, (L*D, width) each, or (L*D, B, width) for batches of B rows alone.
        """
        batch = next((np.shape(state)[1] for state in states.values() if np.ndim(state) == 3), None)
        arch = replace(self._architecture, learn_initial_state=True, initial_batch=batch)
        shapes = {name: parameter.shape for name, parameter in arch.parameters().items()}
        zeros = {name: self._engine.xp.zeros(shapes[name], arch.dtype) for name in arch.initial_names}
        self._architecture, self._live = arch, Live(self._live.arrays | zeros)
        self._parameters = Parameters(arch, self._live)
        self._parameters.update(states)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_engine", "_kept", "_layout")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._engine = make_engine(resolve(self._backend), self._num_threads)
        self._kept = self._layout = None


def _seeds(seed: int | None) -> list[np.random.SeedSequence]:
    """The seed of the initial parameters, and that of what training draws."""
    return np.random.SeedSequence(check_seed(seed)).spawn(2)
