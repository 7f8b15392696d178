"""On a GPU, with arrays of CuPy: `pytest -m gpu`, which also runs all tests of engines on the CUDA engine."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import processes
import pytest
from conftest import Close, require_peer
from networks import CELLS, make_call

from rnncore import GRU, Recurrent, clip_grad_norm
from rnncore.devices import on_host
from rnncore.states import as_tuple, unwrap_state

pytestmark = pytest.mark.gpu


@pytest.fixture
def cupy() -> Iterator[Any]:
    """The package, with its pool as it was."""
    cupy = importlib.import_module("cupy")
    yield cupy
    cupy.get_default_memory_pool().set_limit(size=0)


def everything(rnn: Any, x: Any, state: Any, lengths: Any, grad: Any) -> list[Any]:
    """All results of a call, inference and training."""
    output, final, tape = rnn.forward(x, state, lengths)
    grads = rnn.backward(tape, grad, final)
    inferred, _ = rnn(x, state, lengths)
    last, _ = rnn(x, state, lengths, return_sequence=False)
    states = (*as_tuple(final), *as_tuple(grads.state))
    return [output, inferred, last, *states, grads.x, *grads.parameters.values()]


def compare(
    cell: Any, steps: int, batch: int, inputs: int, hidden: int, close: Close, cupy: Any, **options: Any
) -> None:
    """The CUDA engine, in its dtype, with the NumPy engine in float64 on the same values."""
    ragged = options.pop("ragged", False)
    rng = np.random.default_rng(0)
    rnn = Recurrent(cell, inputs, hidden, backend="cuda", seed=0, **options)
    reference = Recurrent(cell, inputs, hidden, backend="numpy", seed=0, **{**options, "dtype": "float64"})
    reference.load_state_dict({name: on_host(v).astype(np.float64) for name, v in rnn.parameters.items()}, "rnncore")
    depth = rnn.num_layers * (2 if rnn.bidirectional else 1)
    width = hidden * (2 if rnn.bidirectional else 1)
    x, grad = (rng.standard_normal((steps, batch, size)).astype(rnn.dtype) for size in (inputs, width))
    state = tuple(rng.standard_normal((depth, batch, hidden)).astype(rnn.dtype) for _ in rnn.cell.states)
    lengths = rng.integers(0, steps + 1, batch) if ragged else None
    on_gpu = cupy.asarray(x), unwrap_state(tuple(map(cupy.asarray, state))), lengths, cupy.asarray(grad)
    actual = everything(rnn, *on_gpu)
    doubles = (x.astype(float), unwrap_state(tuple(s.astype(float) for s in state)), lengths, grad.astype(float))
    for value, expected in zip(actual, everything(reference, *doubles), strict=True):
        assert type(value) is cupy.ndarray
        close(value.get(), expected, "gradient", rnn.dtype)
    for value, again in zip(actual, everything(rnn, *on_gpu), strict=True):
        np.testing.assert_array_equal(value.get(), again.get())


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 3, 4, 33])
def test_every_cell(name: str, dtype: str, batch: int, cupy: Any, close: Close) -> None:
    compare(CELLS[name][0], 7, batch, 5, 37, close, cupy, dtype=dtype)


@pytest.mark.parametrize("cell", ["lstm", GRU("carry", "before"), "rnn"])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_options(cell: Any, ragged: bool, bidirectional: bool, bias: bool, cupy: Any, close: Close) -> None:
    compare(cell, 9, 6, 8, 20, close, cupy, num_layers=2, ragged=ragged, bidirectional=bidirectional, bias=bias)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("steps", "batch", "inputs", "hidden"),
    [(40, 64, 512, 512), (50, 1, 1024, 1024), (30, 16, 768, 768), (3000, 2, 8, 64), (4, 700, 30, 130), (2, 5, 3, 2050)],
)
def test_large_shapes(cell: str, steps: int, batch: int, inputs: int, hidden: int, cupy: Any, close: Close) -> None:
    compare(cell, steps, batch, inputs, hidden, close, cupy, dtype="float64" if steps > 100 else "float32")


@pytest.mark.parametrize("sizes", [(0, 3, 4), (5, 0, 4), (5, 3, 0)])
def test_nothing_to_compute(sizes: tuple[int, int, int], cupy: Any, close: Close) -> None:
    compare("lstm", *sizes, 6, close, cupy, num_layers=2, bidirectional=True)


def test_inputs_of_any_strides(cupy: Any) -> None:
    rnn: Any = Recurrent("gru", 6, 20, backend="cuda", seed=0)
    x = cupy.asarray(np.random.default_rng(0).standard_normal((8, 5, 6)).astype(np.float32))
    row = cupy.ascontiguousarray(x[:1, :1])
    for strided in (
        x[::-1, ::-1],
        x[:, ::2],
        x[..., ::2].repeat(2, axis=2),
        cupy.broadcast_to(row, x.shape),
        x[2:, 1:],
    ):
        expected, _ = rnn(cupy.ascontiguousarray(strided))
        np.testing.assert_array_equal(rnn(strided)[0].get(), expected.get())


def test_work_is_queued_on_the_current_stream(cupy: Any) -> None:
    """One stream is held up; a call on it returns all the same, and another stream is not held up by it."""
    rnn: Any = Recurrent("lstm", 16, 40, num_layers=2, backend="cuda", seed=0)
    x, lengths = cupy.ones((10, 5, 16), np.float32), [3, 10, 0, 7, 1]
    grad = cupy.ones((10, 5, 40), np.float32)
    held, free = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    for stream in (held, free):
        with stream:
            expected = everything(rnn, x, None, lengths, grad)
        stream.synchronize()
    gate = threading.Event()
    rescue = threading.Timer(processes.TIMEOUT, gate.set)
    rescue.start()
    try:
        held.launch_host_func(lambda _: gate.wait(), None)
        with held:
            late = everything(rnn, x, None, lengths, grad)
        assert not held.done
        with free:
            early = everything(rnn, x, None, lengths, grad)
        free.synchronize()
        assert not held.done
        assert not gate.is_set()
    finally:
        gate.set()
        rescue.cancel()
    held.synchronize()
    for value, other, reference in zip(early, late, expected, strict=True):
        np.testing.assert_array_equal(value.get(), reference.get())
        np.testing.assert_array_equal(other.get(), reference.get())


def test_calls_from_several_threads(cupy: Any) -> None:
    frozen: Any = Recurrent("gru", 16, 128, backend="cuda", seed=0).freeze()
    inputs = [cupy.full((10, batch, 16), batch, np.float32) for batch in (1, 3, 70, 90)] * 4
    expected = [frozen(x)[0].get() for x in inputs]

    def call(x: Any) -> Any:
        with cupy.cuda.Stream(non_blocking=True) as stream:
            output, _ = frozen(x)
            stream.synchronize()
            return output.get()

    with ThreadPoolExecutor(8) as pool:
        for output, value in zip(pool.map(call, inputs), expected, strict=True):
            np.testing.assert_array_equal(output, value)


def test_out_of_memory_is_an_error_that_leaves_the_network_usable(cupy: Any) -> None:
    rnn: Any = Recurrent("lstm", 8, 256, backend="cuda", seed=0)
    small, large = (cupy.ones((steps, 32, 8), np.float32) for steps in (3, 2000))
    expected = everything(rnn, small, None, None, cupy.ones((3, 32, 256), np.float32))
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    # Room for the output and another array of its size, not for all that is kept for the backward pass.
    pool.set_limit(size=pool.total_bytes() + 2 * 2000 * 32 * 256 * 4)
    message = (
        "not enough memory on the GPU for the forward pass of a layer with T=2000, B=32, I=8, H=256 in float32: Out"
    )
    for _ in range(2):
        with pytest.raises(MemoryError, match=message):
            rnn.forward(large)
    actual = everything(rnn, small, None, None, cupy.ones((3, 32, 256), np.float32))
    for value, reference in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(value.get(), reference.get())
    pool.set_limit(size=0)
    rnn.forward(large)


def test_learns_to_remember_the_first_input(cupy: Any) -> None:
    rnn: Any = Recurrent("gru", 1, 16, backend="cuda", seed=0)
    rng = np.random.default_rng(0)
    decoder = cupy.asarray(rng.standard_normal(16).astype(np.float32) / 4)
    losses = []
    for _ in range(200):
        x = cupy.asarray(rng.choice([-1.0, 1.0], (6, 32, 1)).astype(np.float32))
        output, _, tape = rnn.forward(x)
        error = output[-1] @ decoder - x[0, :, 0]
        losses.append(float((error**2).mean()))
        grad_output = cupy.zeros_like(output)
        grad_output[-1] = error[:, None] * decoder / 16
        grads = rnn.backward(tape, grad_output)
        decoder -= 0.3 * error @ output[-1] / 16
        clip_grad_norm(grads, 1.0)
        for name, values in rnn.parameters.items():
            values -= 0.3 * grads.parameters[name]
    assert np.mean(losses[-20:]) < 0.1 * losses[0]


def test_arrays_of_the_host_are_refused() -> None:
    call = make_call("lstm", 5, 3, backend="cuda")
    with pytest.raises(
        TypeError, match=r"x: expected a cupy.ndarray .* in the host's memory: nothing moves between dev"
    ):
        call.rnn(call.x)


def test_another_gpu_is_refused(cupy: Any) -> None:
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one GPU")
    rnn: Any = Recurrent("lstm", 4, 6, backend="cuda", seed=0)
    with cupy.cuda.Device(1):
        x = cupy.ones((5, 3, 4), np.float32)
        with pytest.raises(ValueError, match="where the network was made"):
            rnn.freeze()(x)
    with pytest.raises(ValueError, match="x: expected an array on GPU 0, which is the current one, got one on GPU 1"):
        rnn(x)


@pytest.fixture
def torch(request: pytest.FixtureRequest) -> Any:
    """PyTorch with its own CUDA."""
    torch = require_peer(request, "torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no GPU")
    return torch


def test_tensors_go_in_and_come_out_without_a_copy(torch: Any, cupy: Any, close: Close) -> None:
    module = torch.nn.LSTM(6, 20, num_layers=2).cuda()
    rnn: Any = Recurrent.from_torch(module, backend="cuda")
    x, grad = torch.randn(8, 5, 6, device="cuda"), torch.randn(8, 5, 20, device="cuda")
    x_leaf = x.clone().requires_grad_()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected, _ = module(x_leaf)
        expected.backward(grad)
    with cupy.cuda.Stream.from_external(torch.cuda.current_stream()):
        output, _, tape = rnn.forward(x)
        grads = rnn.backward(tape, grad)
    close(output.get(), expected.detach().cpu().numpy(), "output")
    close(grads.x.get(), x_leaf.grad.cpu().numpy(), "gradient")
    tensor = torch.from_dlpack(output)
    assert tensor.data_ptr() == output.data.ptr
    rnn.parameters["weight_hh_l0"] = module.weight_hh_l0.detach()
    with pytest.raises(TypeError, match=r"which its library does not share: .*detach"):
        rnn(x_leaf)
    assert type(rnn.to_torch()) is torch.nn.LSTM
