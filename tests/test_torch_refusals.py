"""What `rnncore.torch.Recurrent` refuses, and what it says."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from own_cells import decaying

import rnncore
import rnncore.torch as ours
from rnncore.torch import networks


def test_what_only_others_take_is_refused() -> None:
    with pytest.raises(TypeError, match="nonsense: expected options of Recurrent, which are num_layers, "):
        ours.Recurrent("gru", 3, 4, nonsense=1)
    with pytest.raises(TypeError, match=r"got another: did you mean 'zoneout'\?"):
        ours.Recurrent("gru", 3, 4, zonout=0.1)
    module = ours.Recurrent("gru", 3, 4)
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"flow: expected False in a graph of torch\.compile"):
        torch.compile(module, backend="eager", fullgraph=True)(torch.randn(2, 3, 3), flow=True)
    reverse = rnncore.Recurrent("gru", 3, 4, direction="reverse").state_dict()
    for network in (module, rnncore.Recurrent("gru", 3, 4)):
        with pytest.raises(ValueError, match=r"direction='forward', got those of one with direction='reverse'"):
            network.load_state_dict(reverse)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: (torch.randn(2, 3, 4),), r"x: expected \(T, B, input_size\) or \(T, input_size\) with input_size=5"),
        (
            lambda: (torch.randn(2, 3, 5), torch.randn(1, 3, 6)),
            r"state: expected \(num_layers=1, B=3, hidden_size=7\), got \(1, 3, 6\)",
        ),
        (
            lambda: (torch.randn(2, 3, 5), None, torch.tensor([1, 2, 3])),
            r"lengths: expected integers from 0 to T=2, got",
        ),
        (
            lambda: (torch.randn(2, 3, 5), None, torch.ones(3)),
            r"lengths: expected \(B=3,\) integers, got torch.float32",
        ),
        (
            lambda: (torch.randn(2, 3, 5), None, None, {"a": torch.ones(2)}),
            "inputs: expected None, as .* takes no inputs, got 'a'",
        ),
        (
            lambda: (torch.randn(2, 3, 5), None, None, None, torch.ones(3, 2, dtype=torch.bool)),
            r"resets: expected \(T=2, B=3\), got \(3, 2\): time and batch look swapped",
        ),
        (
            lambda: (torch.randn(2, 3, 5), None, None, None, None, torch.ones(1, 3, 7)),
            "reset_state: expected None without resets",
        ),
    ],
)
def test_refusals(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ours.Recurrent("gru", 5, 7)(*arguments())


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        (lambda x: (x.numpy(),), {}, r"x: expected a torch\.Tensor .* got numpy\.ndarray .*torch\.as_tensor\(x\)"),
        (lambda x: (None,), {}, r"x: expected a torch\.Tensor .* got NoneType None$"),
        (lambda x: (x.double(),), {}, r"x: expected torch\.float32, which .* got torch\.float64: convert it"),
        (lambda x: (x, torch.zeros(1, 2, 4).double()), {}, r"state: expected torch\.float32, .* got torch\.float64"),
        (
            lambda x: (x, (torch.zeros(1, 2, 4),)),
            {},
            r"state: expected a torch\.Tensor .*hidden_size=4\), got a tuple of 1",
        ),
        (lambda x: (x, torch.zeros(1, 5, 4)), {}, r"state: .* got \(1, 5, 4\): x was read as .*write batch_first=True"),
        (lambda x: (x,), {"resets": torch.zeros(2, 5, dtype=torch.bool)}, "resets: .*: time and batch look swapped"),
        (lambda x: (x,), {"inputs": {"dt": torch.zeros(2, 5)}}, r"inputs\['dt'\]: .*: time and batch look swapped"),
        (lambda x: (x,), {"inputs": {"dt": torch.ones(2).double()}}, r"inputs\['dt'\]: expected torch\.float32"),
        (
            lambda x: (x,),
            {"inputs": {"dt": np.ones(2)}},
            r"inputs\['dt'\]: expected a torch\.Tensor .*got numpy\.ndarray",
        ),
    ],
)
def test_refusals_name_the_argument(arguments: Any, named: dict[str, Any], message: str) -> None:
    module = ours.Recurrent(decaying, 3, 4)
    with pytest.raises((TypeError, ValueError), match=message):
        module(*arguments(torch.randn(5, 2, 3)), **{"inputs": {"dt": 0.5}, **named})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"burn_in": -1}, "burn_in: expected an integer of at least 0, got -1"),
        ({"burn_in": 6}, "burn_in: expected 0 to T=5, got 6"),
        ({"truncate": 0}, "truncate: expected an integer of at least 1, got 0"),
        ({"recompute": "yes"}, "recompute: expected True or False, got str 'yes'"),
        ({"flow": "no"}, "flow: expected True or False, got str 'no'"),
    ],
)
def test_long_sequences_are_checked_without_gradients_too(options: dict[str, Any], message: str) -> None:
    module, x = ours.Recurrent("gru", 3, 4), torch.randn(5, 2, 3)
    for grad in (False, True):
        with torch.set_grad_enabled(grad), pytest.raises((TypeError, ValueError), match=message):
            module(x, **options)


@pytest.mark.parametrize("options", [{"burn_in": 2}, {"truncate": 2}, {"recompute": True}, {"states": "all"}])
def test_a_packed_sequence_takes_a_state_alone(options: dict[str, Any]) -> None:
    packed = torch.nn.utils.rnn.pack_sequence([torch.randn(5, 3), torch.randn(3, 3)])
    with pytest.raises(ValueError, match="x: expected a padded batch where there is more than a state"):
        ours.Recurrent("gru", 3, 4)(packed, **options)


def test_sizes_and_options_that_shapes_follow_from_stay() -> None:
    module = ours.Recurrent("gru", 3, 4, num_layers=2)
    for option, had in {"heads": 1, "hidden_size": 4, "input_size": 3}.items():
        message = f"{option}: expected {had}, .* shapes of parameters follow, got 2: make another module"
        with pytest.raises(ValueError, match=message):
            setattr(module, option, 2)
    for size in ("output_size", "state_widths"):
        with pytest.raises(AttributeError, match=size):
            setattr(module, size, 2)
    assert (module.output_size, module.state_widths) == (4, [4])
    with pytest.raises(ValueError, match=r"zoneout: expected a probability from 0 to 1, got 2"):
        module.zoneout = 2
    assert (module.heads, module.hidden_size, module.zoneout, module.dropout) == (1, 4, 0.0, 0.0)
    module.batch_first = True
    again = copy.deepcopy(module)
    assert again(torch.zeros(3, 5, 3))[1].shape == (2, 3, 4)


@pytest.mark.parametrize("compiled", [False, True])
def test_rounded_products_of_parameters_that_became_float64(compiled: bool) -> None:
    module, x = ours.Recurrent("gru", 3, 4, compute="bfloat16").double(), torch.randn(5, 2, 3)
    packed = torch.nn.utils.rnn.pack_sequence([x[:, 0].double()])
    call = torch.compile(module, backend="eager") if compiled else module
    message = r"compute: expected parameters of torch\.float32 with 'bfloat16', got torch\.float64: call \.float\(\)"
    for given in (x.double(), x, packed):
        with pytest.raises(ValueError, match=message):
            call(given)
    with pytest.raises(ValueError, match=message):
        module.observe(x.double())
    module.compute = None
    assert module(x.double())[0].dtype is torch.float64
    with pytest.raises(ValueError, match=message):
        module.compute = "bfloat16"
    assert module.compute == "float64"


def test_the_precision_is_one_for_parameters_as_they_are_now() -> None:
    single = ours.Recurrent("gru", 3, 4, dtype=torch.float64).float()
    single.compute = "bfloat16"
    assert single(torch.zeros(2, 1, 3))[0].dtype is torch.float32


def test_precisions_that_a_gpu_lacks() -> None:
    text = ours.Recurrent("gru", 3, 4, compute="bfloat16").network_text()
    with pytest.raises(ValueError, match="compute: expected no 'bfloat16' with backend='cuda', whose products have"):
        networks.find_network(text, torch.float32, torch.device("cuda:0"))


def test_a_tuple_of_states_names_the_one_and_half_precision_its_remedy() -> None:
    states = torch.zeros(1, 2, 4), torch.zeros(1, 2, 4).double()
    with pytest.raises(TypeError, match=r"reset_state\[1\]: expected torch\.float32"):
        ours.Recurrent("lstm", 3, 4)(torch.randn(5, 2, 3), resets=torch.ones(5, 2).bool(), reset_state=states)
    with pytest.raises(TypeError, match=r"weight_ih_l0: .* got torch\.float16: convert the module with \.float\(\)"):
        ours.Recurrent("lstm", 3, 4).half()(torch.randn(5, 2, 3).half())


def test_a_trace_is_refused() -> None:
    with torch.no_grad(), pytest.raises(TypeError, match=r"torch\.jit\.trace: .*torch\.export\.export"):
        torch.jit.trace(ours.Recurrent("gru", 3, 4).eval(), (torch.randn(5, 2, 3),))
    with pytest.raises(TypeError, match=r"torch\.jit\.script: .* write torch\.compile\(model\)"):
        torch.jit.script(torch.nn.Sequential(ours.Recurrent("gru", 3, 4)))


def test_a_state_dict_says_whose_gru_it_is() -> None:
    """Also within a model, and read from a file."""
    carry = rnncore.GRU(update="carry")
    model = torch.nn.Sequential(ours.Recurrent("gru", 3, 4, direction="reverse"))
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    values = torch.load(buffer, weights_only=True)
    theirs = torch.nn.Sequential(torch.nn.GRU(3, 4)).state_dict()
    for module, refused in (
        (ours.GRU(3, 4), values),
        (ours.Recurrent(carry, 3, 4), values),
        (ours.Recurrent("gru", 3, 4), theirs),
        (ours.Recurrent("gru", 3, 4), torch.nn.Sequential(ours.Recurrent(carry, 3, 4)).state_dict()),
    ):
        before = module.weight_hh_l0.clone()
        with pytest.raises(RuntimeError, match=r"0\.: expected the parameters of GRU\(update="):
            torch.nn.Sequential(module).load_state_dict(refused)
        assert torch.equal(module.weight_hh_l0, before)
        torch.nn.Sequential(module).load_state_dict(dict(refused))
    torch.nn.Sequential(ours.Recurrent("gru", 3, 4, direction="reverse")).load_state_dict(values)
    with pytest.raises(
        RuntimeError, match=r"direction='forward', got those of one with direction='reverse'.*dict\(values\)"
    ):
        torch.nn.Sequential(ours.Recurrent("gru", 3, 4)).load_state_dict(values)
    torch.nn.Sequential(ours.Recurrent(carry, 3, 4)).load_state_dict(theirs)
    torch.nn.Sequential(ours.GRU(3, 4)).load_state_dict(torch.nn.Sequential(ours.Recurrent(carry, 3, 4)).state_dict())

    zoned = ours.Recurrent("lstm", 3, 4, zoneout={"c": 0.2}).state_dict()
    assert rnncore.Recurrent.from_state_dict(zoned).zoneout == {"c": 0.2}
    rnn = rnncore.Recurrent.from_state_dict(values, prefix="0.")
    assert (rnn.cell, rnn.direction) == (model[0].cell, "reverse")
    rnn.load_state_dict(model[0].state_dict())
    with pytest.raises(ValueError, match="state_dict: expected the parameters of GRU"):
        rnncore.Recurrent(carry, 3, 4).load_state_dict(model[0].state_dict())


def test_refused_dtypes_and_devices() -> None:
    with pytest.raises(ValueError, match=r"dtype: expected torch\.float32 or torch\.float64, got torch\.bfloat16"):
        ours.Recurrent("gru", 5, 7, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="device: expected one where an engine computes, got a tensor on meta"):
        ours.Recurrent("gru", 5, 7, device="meta")
    with pytest.raises(
        TypeError, match=r"x: expected dense torch\.float32 tensors where an engine computes, got a tensor on meta"
    ):
        ours.Recurrent("gru", 5, 7)(torch.randn(2, 3, 5, device="meta"))
