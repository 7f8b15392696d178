"""Arrays of other libraries in the host's memory: what is taken, without a copy, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from conftest import Array, require_peer

from rnncore import Recurrent
from rnncore.devices import shared


class Shared:
    """An array of a library that speaks DLPack and nothing else."""

    kind = 1
    requires_grad = False

    def __init__(self, array: Array) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 0

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)


class OfBefore(Shared):
    """By the first version of the protocol."""

    def __dlpack__(self) -> Any:  # type: ignore[override]
        return self.array.__dlpack__()


class WithGradient(Shared):
    requires_grad = True


class OnMetal(Shared):
    kind = 8


class Nowhere(Shared):
    def __dlpack_device__(self) -> tuple[int, int]:
        raise ValueError("Unknown device type meta for Dlpack")


class Unshared(Shared):
    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("Unsupported dtype in DLTensor.")


class Unnegated(Shared):
    """What it shares has the wrong sign, unless it is resolved."""

    def __dlpack__(self, **options: Any) -> Any:
        return (-self.array).__dlpack__(**options)

    def resolve_neg(self) -> Shared:
        return Shared(self.array)


def sequence(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def network(**options: Any) -> Any:
    return Recurrent("lstm", 4, 4, **{"seed": 0, "backend": "numpy", "num_threads": 1, **options})


LAYOUTS = {
    "contiguous": sequence(5, 3, 4),
    "reversed": sequence(5, 3, 4)[::-1],
    "every second element": sequence(5, 3, 8)[:, :, ::2],
    "transposed": sequence(4, 3, 5).transpose(2, 1, 0),
    "no steps": sequence(0, 3, 4),
}


def results(rnn: Any, x: Any, state: Any, lengths: Any, grad: Any) -> list[Array]:
    output, final, tape = rnn.forward(x, state, lengths)
    grads = rnn.backward(tape, grad, state)
    inferred, _ = rnn(x, state, lengths)
    last, _ = rnn.freeze()(x, state, return_sequence=False)
    return [output, *final, grads.x, *grads.state, *grads.parameters.values(), inferred, last]


@pytest.mark.parametrize("kind", [Shared, OfBefore, Unnegated])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_other_libraries_are_taken(kind: type[Shared], layout: str, backend: str) -> None:
    if backend == "cuda":
        pytest.skip("arrays of the host")
    rnn, x = network(backend=backend), LAYOUTS[layout]
    h, c, grad = (sequence(*shape) for shape in ((1, 3, 4), (1, 3, 4), (len(x), 3, 4)))
    lengths = np.array([len(x), 0, len(x) // 2])
    expected = results(rnn, x, (h, c), lengths, grad)
    given = results(rnn, kind(x), (kind(h), kind(c)), Shared(lengths), kind(grad))
    for value, reference in zip(given, expected, strict=True):
        assert type(value) is np.ndarray
        np.testing.assert_array_equal(value, reference)


def test_steps_and_generation() -> None:
    rnn, x = network(), sequence(3, 4)
    y, state = rnn.step(Shared(x))
    expected, _ = rnn.step(x)
    np.testing.assert_array_equal(y, expected)
    outputs, _ = rnn.generate(Shared(x), 3, tuple(map(Shared, state)), feedback=lambda output: Shared(2 * output))
    expected, _ = rnn.generate(x, 3, state, feedback=lambda output: 2 * output)
    np.testing.assert_array_equal(outputs, expected)
    with pytest.raises(ValueError, match=r"feedback: expected to return numpy\.ndarray"):
        rnn.generate(x, 3, feedback=lambda output: Shared(output[:, :1]))


@pytest.mark.parametrize("kind", [Shared, OfBefore, Unnegated])
def test_parameters_of_other_libraries(kind: type[Shared]) -> None:
    rnn = network()
    bias, weight = sequence(16), sequence(16, 4)
    rnn.parameters["bias_hh_l0"] = kind(bias)
    rnn.parameters.update({"weight_hh_l0": kind(weight)})
    np.testing.assert_array_equal(rnn.parameters["bias_hh_l0"], bias)
    np.testing.assert_array_equal(rnn.parameters["weight_hh_l0"], weight)
    assert not np.shares_memory(rnn.parameters["weight_hh_l0"], weight)
    for value, message in (
        (WithGradient(bias), r"write bias_hh_l0\.detach\(\)"),
        (OnMetal(bias), "copy it to the host"),
    ):
        with pytest.raises(TypeError, match=f"bias_hh_l0: .*{message}"):
            rnn.parameters.update({"weight_hh_l0": 2 * weight, "bias_hh_l0": value})
    np.testing.assert_array_equal(rnn.parameters["weight_hh_l0"], weight)


def test_nothing_is_copied_or_written() -> None:
    array, rnn = sequence(5, 3, 4), network()
    assert np.shares_memory(shared(Shared(array), np, "x: expected"), array)
    expected, _ = rnn(array)
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        # NumPy shares a read-only array from then on.
        array.flags.writeable = False
    np.testing.assert_array_equal(rnn.forward(Shared(array), lengths=[5, 5, 4])[0][:4], expected[:4])


REFUSED: list[tuple[Any, str]] = [
    (
        WithGradient(sequence(5, 3, 4)),
        ", which requires a gradient, and none flows back to it from here: write x.detach()",
    ),
    (OnMetal(sequence(5, 3, 4)), ", which is on a GPU: nothing moves between devices by itself; copy it to the host"),
    (Nowhere(sequence(5, 3, 4)), ": convert it with numpy.asarray"),
    (
        Unshared(sequence(5, 3, 4)),
        ", which its library does not share: Unsupported dtype in DLTensor; convert it to a dense array of the dtype exp",
    ),
    (Shared(sequence(5, 3, 4, dtype=np.float16)), "x: expected float32, got float16: convert it to float32"),
    (
        Shared(sequence(5, 3, 4, dtype=np.float64)),
        "x: expected float32, got float64: convert it to float32 or make the network with dtype='float64'",
    ),
    (Shared(sequence(5, 3, 5)), "x: expected (T, B, input_size=4), got (5, 3, 5)"),
]


@pytest.mark.parametrize(("x", "message"), REFUSED, ids=[type(x).__name__ + m[:40] for x, m in REFUSED])
def test_refusals(x: Any, message: str) -> None:
    rnn = network()
    for call in (rnn, rnn.forward, rnn.freeze()):
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            call(x)


def test_refusals_of_other_arguments() -> None:
    rnn, x, good = network(), sequence(5, 3, 4), sequence(1, 3, 4)
    _, _, tape = rnn.forward(x)
    with pytest.raises(TypeError, match=r"state\[1\] \(c\): .* write state\[1\].detach\(\)"):
        rnn(x, (good, WithGradient(good)))
    with pytest.raises(TypeError, match=r"grad_output: .* write grad_output.detach\(\)"):
        rnn.backward(tape, WithGradient(x))
    with pytest.raises(TypeError, match=r"lengths: expected \(B=3,\) integers, got .* does not share"):
        rnn(x, lengths=Unshared(np.array([1, 2, 3])))
    with pytest.raises(TypeError, match=r"lengths: expected \(B=3,\) integers, got float32"):
        rnn(x, lengths=Shared(sequence(3)))
    with pytest.raises(TypeError, match=r"x_0: .* write x_0.detach\(\)"):
        rnn.generate(WithGradient(x[0]), 2)
    with pytest.raises(TypeError, match=r"feedback: .* write feedback.detach\(\)"):
        rnn.generate(x[0], 2, feedback=WithGradient)


@pytest.mark.parametrize("kind", [Shared, OfBefore, Unnegated])
def test_weights_of_other_libraries(kind: type[Shared]) -> None:
    rnn = network()
    values = {name: kind(array) for name, array in rnn.state_dict().items()}
    with pytest.raises(TypeError, match=re.escape("bias_hh_l0: expected an array, got WithGradient <")):
        network(seed=1).load_state_dict({**values, "bias_hh_l0": WithGradient(sequence(16))})
    other = network(seed=1)
    other.load_state_dict(values)
    for name, array in rnn.parameters.items():
        np.testing.assert_array_equal(other.parameters[name], array)


def test_a_tracer_of_jax() -> None:
    tracer = type("Tracer", (), {"__module__": "jax._src.core", "shape": (5, 3, 4), "dtype": "float32"})
    inner = type("DynamicJaxprTracer", (tracer,), {"__module__": "jax._src.interpreters.partial_eval"})
    with pytest.raises(TypeError, match=r"x: .*, which JAX traces: inside its jit, grad and vmap call rnncore.jax.rec"):
        network()(inner())


def test_arrays_of_jax(request: pytest.FixtureRequest) -> None:
    jax = require_peer(request, "jax")
    rnn, x = network(), sequence(5, 3, 4)
    expected, _ = rnn(x)
    np.testing.assert_array_equal(rnn(jax.numpy.asarray(x))[0], expected)
    for transform in (jax.jit, jax.grad):
        with pytest.raises(TypeError, match=r"x: .* which JAX traces: inside its jit, grad and vmap call rnncore.jax"):
            transform(lambda x: rnn(x)[0].sum())(x)


def test_tensors_of_pytorch(request: pytest.FixtureRequest) -> None:
    torch = require_peer(request, "torch")
    rnn, x = network(), sequence(5, 3, 4)
    h, c, grad = (sequence(*shape) for shape in ((1, 3, 4), (1, 3, 4), (5, 3, 4)))
    lengths = np.array([5, 0, 2])
    expected = results(rnn, x, (h, c), lengths, grad)
    tensor = torch.from_numpy
    given = results(rnn, tensor(x), (tensor(h), tensor(c)), tensor(lengths), tensor(grad))
    for value, reference in zip(given, expected, strict=True):
        np.testing.assert_array_equal(value, reference)
    assert np.shares_memory(shared(tensor(x), np, "x: expected"), x)
    # Views with strides of their own, one of them with a sign that PyTorch keeps beside the numbers.
    turned = tensor(np.ascontiguousarray(x.transpose(2, 0, 1))).permute(1, 2, 0)
    np.testing.assert_array_equal(rnn(turned)[0], rnn(x)[0])
    negated = torch.complex(torch.zeros(5, 3, 4), tensor(-x)).conj().imag
    assert negated.is_neg()
    np.testing.assert_array_equal(rnn(negated)[0], rnn(x)[0])
    cases = {
        r"got torch.Tensor \(5, 3, 4\) of torch.float32, which requires a gradient, .*: write x.detach\(\)": tensor(
            x
        ).requires_grad_(),
        r"got torch.Tensor \(5, 3, 4\) of torch.bfloat16, which its library does not share: .* convert it": tensor(
            x
        ).bfloat16(),
        r"x: expected float32, got float64: convert it to float32 or make": tensor(x).double(),
        r"which its library does not share: .* convert it to a dense array": tensor(x).to_sparse(),
        r"got torch.Tensor \(5, 3, 4\) of torch.float32: convert it": tensor(x).to("meta"),
    }
    for message, refused in cases.items():
        with pytest.raises(TypeError, match=message):
            rnn(refused)
