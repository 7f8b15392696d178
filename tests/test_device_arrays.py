"""Networks whose arrays are not NumPy's, on a stand-in for a GPU: what is taken, what is refused, what comes back."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import stand_in_gpu as gpu
from conftest import Close
from hosted import Hosted
from networks import make_call
from own_cells import driven

from rnncore import Recurrent, clip_grad_norm, registry
from rnncore.bench.workload import Workload, arrays_of
from rnncore.devices import on_host
from rnncore.states import as_tuple


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stand-in, as the backend "cuda"."""
    monkeypatch.setitem(registry.MODULES, "cuda", "stand_in_gpu")
    monkeypatch.setattr(gpu.current, "device", 0)
    gpu.taken.clear()
    gpu.synchronized.clear()
    registry._probe.cache_clear()
    yield
    registry._probe.cache_clear()


def sequence(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def network(cell: Any, *sizes: Any, **options: Any) -> Any:
    """A network on the stand-in."""
    return Recurrent(cell, *sizes, **{"seed": 0, "backend": "cuda", **options})


class Shared:
    """An array of another library on the GPU, by the protocols that it is said to have."""

    def __init__(self, host: Any, device: int = 0) -> None:
        self.array = gpu.ndarray(host, device)
        self.shape, self.dtype = host.shape, host.dtype

    def share(self) -> Any:
        return self.array


class ByInterface(Shared):
    __cuda_array_interface__: ClassVar[dict[str, Any]] = {}


class ByDLPack(Shared):
    """Its interface must not be asked for: PyTorch's raises an error where a gradient is wanted."""

    kind = 2

    @property
    def __cuda_array_interface__(self) -> Any:
        raise RuntimeError("asked for")

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 0

    def __dlpack__(self) -> Any:
        return self.array


class InManagedMemory(ByDLPack):
    kind = 13


class WithGradient(ByDLPack):
    def __dlpack__(self) -> Any:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")


class OnTheHost(ByDLPack):
    kind = 1


def results(rnn: Recurrent, x: Any, state: Any, lengths: Any, grad: Any) -> list[Any]:
    output, final, tape = rnn.forward(x, state, lengths)
    grads = rnn.backward(tape, grad, final)
    inferred, _ = rnn(x, state, lengths)
    last, _ = rnn.freeze()(x, state, lengths, return_sequence=False)
    return [output, *final, grads.x, *grads.state, *grads.parameters.values(), inferred, last]


@pytest.mark.parametrize("lengths", [None, [3, 0, 5]])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.5, "batch_first": True}])
def test_all_results_are_the_gpus(lengths: Any, options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"input_size": 4, "hidden_size": 6, "seed": 0, **options}
    depth = 4 if options else 1
    x, grad = (sequence(*((3, 5) if options else (5, 3)), width) for width in (4, 12 if options else 6))
    state = sequence(depth, 3, 6), sequence(depth, 3, 6, seed=1)
    expected = results(Recurrent("lstm", backend="numpy", num_threads=1, **given), x, state, lengths, grad)
    on_gpu = gpu.asarray(x), tuple(gpu.asarray(s) for s in state), lengths, gpu.asarray(grad)
    actual = results(network("lstm", **given), *on_gpu)
    assert not gpu.synchronized
    for value, reference in zip(actual, expected, strict=True):
        assert type(value) is gpu.ndarray
        np.testing.assert_array_equal(value.get(), reference)


@pytest.mark.parametrize("kind", [ByInterface, ByDLPack, InManagedMemory])
def test_arrays_of_other_libraries_are_taken(kind: type[Shared]) -> None:
    rnn = network("lstm", 4, 6)
    x, h, c, grad = (sequence(*shape) for shape in ((5, 3, 4), (1, 3, 6), (1, 3, 6), (5, 3, 6)))
    expected = results(rnn, gpu.asarray(x), (gpu.asarray(h), gpu.asarray(c)), None, gpu.asarray(grad))
    actual = results(rnn, kind(x), (kind(h), kind(c)), None, kind(grad))
    for value, reference in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(value.get(), reference.get())
    assert set(gpu.taken) == {"interface" if kind is ByInterface else "dlpack"}
    rnn.parameters["weight_hh_l0"] = kind(sequence(24, 6, seed=5))
    rnn.parameters.update({"bias_hh_l0": kind(sequence(24))})
    np.testing.assert_array_equal(rnn.parameters["weight_hh_l0"].get(), sequence(24, 6, seed=5))


def test_what_is_elsewhere_is_refused() -> None:
    rnn = network("lstm", 4, 6)
    x: Any = sequence(5, 3, 4)
    good = gpu.asarray(x)
    before = rnn.state_dict()
    kind = "x: expected a stand_in_gpu.ndarray (T, B, input_size=4) of float32, got "
    cases: list[tuple[Any, Any, type[Exception], str]] = [
        (
            x,
            None,
            TypeError,
            f"{kind}numpy.ndarray (5, 3, 4) of float32, which is in the host's memory: nothing moves between devices by "
            f"itself; copy it to the GPU with stand_in_gpu.asarray, or use backend='numba'",
        ),
        (x.tolist(), None, TypeError, ": convert it with stand_in_gpu.asarray"),
        (OnTheHost(x), None, TypeError, ": convert it with stand_in_gpu.asarray"),
        (WithGradient(x), None, TypeError, "which its library does not share: Can't export tensors that require gradi"),
        (good, (sequence(1, 3, 6), gpu.asarray(sequence(1, 3, 6))), TypeError, "which is in the host's memory"),
        (
            gpu.ndarray(x, 1),
            None,
            ValueError,
            "x: expected an array on GPU 0, which is the current one, got one on GPU 1",
        ),
        (ByInterface(x, 1), None, ValueError, "x: expected an array on GPU 0, which is the current one, got one on G"),
        (good.astype(np.float64), None, TypeError, "x: expected float32, got float64: convert it with .astype('float3"),
    ]
    for given, state, error, message in cases:
        for call in (rnn, rnn.forward, rnn.freeze()):
            with pytest.raises(error, match=re.escape(message)):
                call(given, state)
    with pytest.raises(TypeError, match=r"lengths: expected \(B=3,\) integers in the host's memory"):
        rnn(good, lengths=ByDLPack(sequence(3)))
    with pytest.raises(TypeError, match=r"bias_ih_l0: expected a stand_in_gpu.ndarray \(24,\) .* in the host's memory"):
        rnn.parameters["bias_ih_l0"] = sequence(24)
    with pytest.raises(ValueError, match="bias_ih_l0: expected an array on GPU 0"):
        rnn.parameters["bias_ih_l0"] = gpu.ndarray(sequence(24), 1)
    gpu.current.device = 1
    with pytest.raises(ValueError, match="x: expected an array on GPU 1, which is the current one, got one on GPU 0"):
        rnn(good)
    for name, values in rnn.parameters.items():
        np.testing.assert_array_equal(values.get(), before[name].get())


@pytest.mark.parametrize("kind", [ByInterface, ByDLPack])
def test_the_host_refuses_what_is_on_a_gpu(kind: type[Shared]) -> None:
    rnn: Any = Recurrent("lstm", 4, 6, backend="numpy")
    given: Any = kind(sequence(5, 3, 4))
    with pytest.raises(
        TypeError, match="which is on a GPU: nothing moves between devices by itself; copy it to the hos"
    ):
        rnn(given)
    with pytest.raises(TypeError, match="which is on a GPU"):
        rnn.parameters["bias_ih_l0"] = kind(sequence(24))


def test_steps_and_generation() -> None:
    rnn = network("lstm", 4, 4)
    reference = Recurrent("lstm", 4, 4, backend="numpy", seed=0, num_threads=1)
    x = sequence(3, 4)
    y, state = rnn.step(ByDLPack(x))
    y, state = rnn.step(y, state)
    expected, _ = reference.generate(x, 2)
    np.testing.assert_array_equal(y.get(), expected[1])
    kinds: tuple[Any, ...] = (gpu.ndarray, ByDLPack, ByInterface)
    for kind in kinds:

        def doubled(output: Any, kind: Any = kind) -> Any:
            return kind(2 * output.get())

        outputs, final = rnn.generate(kind(x), 3, feedback=doubled)
        expected, expected_final = reference.generate(x, 3, feedback=lambda output: 2 * output)
        np.testing.assert_array_equal(outputs.get(), expected)
        np.testing.assert_array_equal(final[0].get(), expected_final[0])
    one, _ = rnn.generate(gpu.ndarray(x[0]), 2)
    np.testing.assert_array_equal(one.get(), reference.generate(x[0], 2)[0])
    with pytest.raises(
        ValueError, match=r"feedback: expected to return stand_in_gpu.ndarray \(3, 4\) of float32, like"
    ):
        rnn.generate(gpu.ndarray(x), 3, feedback=lambda output: output.get())


def test_parameters_move_where_that_is_asked_for(tmp_path: Path) -> None:
    rnn = network("gru", 3, 4)
    host = Recurrent("gru", 3, 4, backend="numpy", seed=0)
    rnn.save(tmp_path / "rnn")
    for loaded in (Recurrent.load(tmp_path / "rnn", backend="numpy"), Recurrent.load(tmp_path / "rnn", backend="cuda")):
        for name, values in loaded.parameters.items():
            assert type(values) is (np.ndarray if loaded.backend == "numpy" else gpu.ndarray)
            np.testing.assert_array_equal(on_host(values), host.parameters[name])
    rnn.load_state_dict({name: values * 2 for name, values in host.state_dict().items()}, "rnncore")
    np.testing.assert_array_equal(rnn.parameters["bias_ih_l0"].get(), 2 * host.parameters["bias_ih_l0"])
    other = copy.deepcopy(rnn)
    assert type(pickle.loads(pickle.dumps(rnn)).parameters["bias_ih_l0"]) is gpu.ndarray
    other.parameters["bias_ih_l0"][...] = 0
    assert rnn.parameters["bias_ih_l0"].any()


def test_training_and_clipping(close: Close) -> None:
    call = make_call("lstm", 5, 3, backend="numpy", num_threads=1)
    _, _, tape = call.rnn.forward(call.x)
    expected = call.rnn.backward(tape, call.grad_output)
    rnn: Any = make_call("lstm", 5, 3, backend="cuda").rnn
    _, _, tape = rnn.forward(gpu.asarray(call.x))
    grads = rnn.backward(tape, gpu.asarray(call.grad_output))
    assert clip_grad_norm(grads, 0.5) == clip_grad_norm(expected, 0.5)
    for name, values in rnn.parameters.items():
        values -= grads.parameters[name] * 0.1
        call.rnn.parameters[name][...] -= expected.parameters[name] * 0.1
        close(values.get(), call.rnn.parameters[name], "gradient")
    huge, wide = gpu.asarray(np.full(4, 1e300)), gpu.asarray(np.full(1, 1e30, np.float32))
    clip_grad_norm({"a": huge, "b": wide}, 1e-200)
    np.testing.assert_allclose(huge.get(), 5e-201)
    assert (wide.dtype, wide.get()) == (np.float32, 0)


def test_the_hosted_engine_computes_what_the_engine_does(
    nan_filled_empty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "make_engine", lambda num_threads: Hosted(gpu.StandInEngine()))
    options: dict[str, Any] = {"input_size": 4, "hidden_size": 6, "num_layers": 2, "bidirectional": True, "seed": 0}
    x, grad, state = sequence(5, 3, 4), sequence(5, 3, 12), (sequence(4, 3, 6), sequence(4, 3, 6, seed=1))
    expected = results(Recurrent("lstm", backend="numpy", num_threads=1, **options), x, state, [3, 0, 5], grad)
    actual = results(Recurrent("lstm", backend="cuda", **options), x, state, [3, 0, 5], grad)
    for value, reference in zip(actual, expected, strict=True):
        assert type(value) is np.ndarray
        np.testing.assert_array_equal(value, reference)


def test_inputs_stay_there() -> None:
    """Inputs are of both kinds, with and without a time axis, the GPU's own and another library's there."""
    x, dt, gain = sequence(5, 3, 4), abs(sequence(5, 3)), sequence(3, 6)
    expected = Recurrent(driven, 4, 6, backend="numpy", seed=0)
    output, _, tape = expected.forward(x, inputs={"dt": dt, "gain": gain})
    grads = expected.backward(tape, output)
    rnn = network(driven, 4, 6)
    for given in ({"dt": gpu.asarray(dt), "gain": gpu.asarray(gain)}, {"dt": ByDLPack(dt), "gain": ByInterface(gain)}):
        actual, _, tape = rnn.forward(gpu.asarray(x), inputs=given)
        np.testing.assert_array_equal(actual.get(), output)
        for name, values in rnn.backward(tape, actual).inputs.items():
            np.testing.assert_allclose(values.get(), grads.inputs[name], rtol=1e-6)
        np.testing.assert_array_equal(rnn(gpu.asarray(x), inputs=given)[0].get(), output)
    one, _ = rnn.step(gpu.asarray(x[0]), inputs={"dt": 0.5, "gain": gpu.asarray(gain)})
    np.testing.assert_array_equal(one.get(), expected.step(x[0], inputs={"dt": 0.5, "gain": gain})[0])
    assert not gpu.synchronized
    with pytest.raises(
        TypeError, match=r"inputs\['dt'\]: expected .*, which is in the host's memory: nothing moves between"
    ):
        rnn(gpu.asarray(x), inputs={"dt": dt, "gain": gpu.asarray(gain)})


@pytest.mark.parametrize("mode", ["inference", "training", "step"])
def test_a_measured_task_waits_for_the_gpu(mode: str) -> None:
    workload = Workload("gru", mode, 1 if mode == "step" else 5, 3, 4, 6, "float32")
    task = workload.task(workload.network("cuda"))
    calls = len(gpu.synchronized)
    computed = arrays_of(task())
    assert len(gpu.synchronized) == calls + 1
    expected = arrays_of(workload.task(replace(workload, threads=1).network("numpy"))())
    for value, reference in zip(computed, expected, strict=True):
        np.testing.assert_array_equal(value, reference)
    assert as_tuple(task())
