"""Weights by the names of others, in mappings and safetensors files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from conftest import Array

from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.cells import MGU

T, B, WIDTH, H = 5, 2, 3, 4
X = np.random.default_rng(9).standard_normal((T, B, WIDTH)).astype(np.float32)


def network(cell: Any, seed: int = 0, **options: Any) -> Recurrent:
    return Recurrent(cell, WIDTH, H, **{"seed": seed, "backend": "numpy", **options})


def read(values: Any, *arguments: Any, **options: Any) -> Recurrent:
    return Recurrent.from_state_dict(values, *arguments, **{"backend": "numpy", **options})


def assert_same(rnn: Recurrent, other: Recurrent) -> None:
    assert (rnn.cell, list(rnn.parameters)) == (other.cell, list(other.parameters))
    for name, values in rnn.parameters.items():
        np.testing.assert_array_equal(values, other.parameters[name])


def model() -> dict[str, Array]:
    """A model of PyTorch with two networks and more."""
    encoder, decoder = network("lstm", num_layers=2).state_dict(), network(GRU("carry"), 1).state_dict()
    named = {f"encoder.rnn.{name}": values for name, values in encoder.items()}
    return named | {f"decoder.{name}": values for name, values in decoder.items()} | {"linear.weight": np.ones((2, 2))}


def flax(rnn: Recurrent, *, whole: bool = False, sep: str = ".", biases: str = "ih") -> dict[str, Array]:
    """A network's parameters as Flax has them; without the biases of a side that is not named."""
    named = {}
    for side, ours in (("i", "ih"), ("h", "hh")):
        for leaf, stem in (("kernel", "weight"), ("bias", "bias")):
            if leaf == "bias" and side not in biases:
                if rnn.bias:
                    rnn.parameters[f"bias_{ours}_l0"][...] = 0
                continue
            values = rnn.parameters[f"{stem}_{ours}_l0"].T
            gates = [""] if isinstance(rnn.cell, Elman) else [*rnn.cell.gates]
            if whole:
                named[f"dense_{side}{sep}{leaf}"] = values
                continue
            for gate, part in zip(gates, np.split(values, len(gates), axis=-1), strict=True):
                # nnx' attribute cannot be a word of Python's.
                module = "if_" if side + gate == "if" and sep == "." else side + gate
                named[f"{module}{sep}{leaf}"] = part
    return named


@pytest.mark.parametrize("biases", ["ih", "h", ""])
@pytest.mark.parametrize(("whole", "sep"), [(False, "."), (False, "/"), (True, ".")])
@pytest.mark.parametrize("cell", [LSTM(), GRU("carry"), Elman()])
def test_names_of_flax(cell: Any, whole: bool, sep: str, biases: str) -> None:
    rnn = network(cell, bias=bool(biases))
    values = flax(rnn, whole=whole, sep=sep, biases=biases)
    assert_same(read(values, "flax"), rnn)
    prefixed = {f"params{sep}cell{sep}{name}": array for name, array in values.items()}
    assert_same(read({**prefixed, "params.dense.kernel": X}, "flax", prefix=f"params{sep}cell{sep}"), rnn)
    with pytest.raises(ValueError, match=re.escape(f"write convention='flax', prefix='params{sep}cell{sep}'")):
        read(prefixed)


def test_layers_of_flax() -> None:
    first, second = network("lstm"), Recurrent("lstm", H, H, seed=1, backend="numpy")
    values = {f"one.{name}": array for name, array in flax(first).items()}
    values |= {f"two.{name}": array for name, array in flax(second).items()}
    both = read(values, "flax", prefix=["one.", "two."])
    np.testing.assert_array_equal(both(X)[0], second(first(X)[0])[0])
    with pytest.raises(ValueError, match=re.escape("write convention='flax', and the prefix of one layer")):
        read(values)


@pytest.mark.parametrize("cell", [LSTM(), GRU("carry", "after"), GRU("carry", "before"), Elman("relu")])
@pytest.mark.parametrize("both", [False, True])
def test_names_of_keras(cell: Any, both: bool) -> None:
    rnn = network(cell, bidirectional=both)
    order = {"lstm": "ifgo", "gru": "zrn", "elman": "a"}[cell.name]
    values: dict[str, Array] = {}
    for end, beginning in (("", "forward_gru/"), ("_reverse", "backward_gru/"))[: 1 + both]:

        def columns(name: str, end: str = end) -> Array:
            parts = np.split(rnn.parameters[f"{name}_l0{end}"], len(order))
            return np.concatenate([parts[cell.gates.index(gate)] for gate in order]).T

        if cell != GRU("carry", "after"):
            rnn.parameters[f"bias_hh_l0{end}"][...] = 0
        biases = columns("bias_ih"), columns("bias_hh")
        at = beginning if both else "lstm_cell."
        values |= {f"{at}kernel:0": columns("weight_ih"), f"{at}recurrent_kernel:0": columns("weight_hh")}
        values[f"{at}bias:0"] = np.stack(biases) if cell == GRU("carry", "after") else biases[0]
    given: dict[str, Any] = {"cell": cell} if isinstance(cell, Elman) else {}
    assert_same(read(values, "keras", **given), rnn)
    if not both:
        assert read(values, "keras", direction="reverse", **given).direction == "reverse"
        with pytest.raises(ValueError, match=re.escape("write convention='keras', prefix='lstm_cell.'")):
            read(values)


def test_a_prefix(tmp_path: Path) -> None:
    values = model()
    safetensors.numpy.save_file(values, tmp_path / "model.safetensors")
    for source in (values, tmp_path / "model.safetensors", str(tmp_path / "model.safetensors")):
        assert_same(read(source, "torch", prefix="encoder.rnn."), network("lstm", num_layers=2))
        assert_same(read(source, convention="torch", prefix="decoder."), network(GRU("carry"), 1))
        hint = re.escape("to read those of one network, write prefix='decoder.' or prefix='encoder.rnn.'")
        with pytest.raises(ValueError, match=hint):
            read(source, "torch")
        with pytest.raises(ValueError, match=r"prefix: expected the beginning of some name, got 'rnn.': there are "):
            read(source, "torch", prefix="rnn.")
        with pytest.raises(ValueError, match=r"write prefix='decoder.'$"):
            read(source, "torch", prefix="decoder")


def test_a_prefix_of_no_name_in_a_file_that_numpy_cannot_read(tmp_path: Path) -> None:
    names = "weight_ih_l0", "weight_hh_l0"
    tensors = {
        f"rnn.{name}": {"dtype": "BF16", "shape": [3, 1], "data_offsets": [6 * number, 6 * number + 6]}
        for number, name in enumerate(names)
    }
    header = json.dumps(tensors).encode()
    (tmp_path / "model").write_bytes(len(header).to_bytes(8, "little") + header + bytes(12))
    with pytest.raises(
        ValueError, match=r"prefix: expected the beginning of some name, got 'other.': there are rnn\.weight_hh_l0"
    ):
        read(tmp_path / "model", "torch", prefix="other.")
    # A package that was imported may have taught NumPy the dtype.
    with pytest.raises((TypeError, ValueError), match=r"expected tensors that NumPy has a dtype for|dtype: expected"):
        read(tmp_path / "model", "torch", prefix="rnn.")


def test_a_file_of_ours_says_what_it_is(tmp_path: Path) -> None:
    rnn = network("gru", direction="reverse")
    rnn.save(tmp_path / "rnn")
    other = read(tmp_path / "rnn")
    assert other.direction == "reverse"
    assert_same(other, rnn)


def lstm_of_flax() -> dict[str, Array]:
    return flax(network("lstm"))


REFUSED: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "no file": (
        lambda folder: read(folder / "nowhere"),
        FileNotFoundError,
        "nowhere: expected a safetensors file, found none",
    ),
    "another file": (
        lambda folder: read(__file__),
        ValueError,
        "test_names.py: expected a safetensors file, got: ",
    ),
    "several prefixes of PyTorch": (
        lambda folder: read(model(), "torch", prefix=["encoder.rnn.", "decoder."]),
        TypeError,
        "prefix: expected a string, as here names have the numbers of layers, got list",
    ),
    "names of nobody": (
        lambda folder: read({"w": X}, "torch"),
        ValueError,
        "state_dict: expected weight_ih_l0 (gates*hidden_size, input_size) and weight_hh_l0",
    ),
    "no kernels of Flax": (
        lambda folder: read({"kernel": X}, "flax"),
        ValueError,
        "state_dict: expected kernels of a cell of Flax, hi.kernel or dense_h.kernel among them, got kernel",
    ),
    "a kernel of Flax missing": (
        lambda folder: read({n: v for n, v in lstm_of_flax().items() if n != "ig.kernel"}, "flax"),
        ValueError,
        "state_dict: expected kernels of a cell of Flax",
    ),
    "weights of Keras without names": (
        lambda folder: read([X, X], "keras"),
        TypeError,
        "expected a mapping from names to arrays, got a list of 2 arrays: get_weights() has no names, write from_keras",
    ),
    "weights of Flax without names": (lambda folder: read(X, "flax"), TypeError, "state_dict: expected a mapping from"),
    "other names than Keras'": (
        lambda folder: read({"kernel": X, "weight": X}, "keras"),
        ValueError,
        "state_dict: expected the kernel, recurrent_kernel and bias of one layer of Keras, got kernel, weight",
    ),
    "another cell": (
        lambda folder: read(lstm_of_flax(), "flax", cell=MGU()),
        ValueError,
        "cell: expected LSTM(), as of the weights with convention='flax', or one of its gates with other activations",
    ),
    "a GRU of the other update": (
        lambda folder: read(flax(network(GRU("carry"))), "flax", cell="gru"),
        ValueError,
        "cell: expected GRU(update='carry', reset='after'), as of the weights with convention='flax'",
    ),
    "an unknown convention": (
        lambda folder: read(model(), "tensorflow", prefix="decoder."),
        ValueError,
        "convention: expected None, 'rnncore', 'torch', 'flax' or 'keras', got 'tensorflow'",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str, tmp_path: Path) -> None:
    call, error, message = REFUSED[what]
    with pytest.raises(error, match=re.escape(message)):
        call(tmp_path)
