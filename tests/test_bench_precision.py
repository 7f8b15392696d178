"""Low precision in `rnncore bench`: the axis, the peers, what it gains and what it costs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from records import SMALL, made_up, made_up_record, result

from rnncore.bench import measure, peers, ratios, record
from rnncore.bench.render import to_json_text
from rnncore.bench.result import Result
from rnncore.bench.table import caption, narrowed, table
from rnncore.bench.verdict import following, verdict
from rnncore.bench.workload import ALL_MODES, FROZEN, Workload, arrays_of
from rnncore.cli import main

_wrong = measure._wrong  # pyright: ignore[reportPrivateUsage]
QUICK = ["--cell", "gru", "-T", "3", "-B", "2", "-H", "8", "--min-time", "0", "-r", "2", "--backend", "numpy"]


def planned(*arguments: str) -> list[tuple[str, str]]:
    """Mode and precision of each row of the plan."""
    with pytest.MonkeyPatch.context() as patch:
        found: list[Workload] = []

        def run(workloads: Sequence[Workload], *_: object) -> Iterator[Result]:
            found.extend(workloads)
            yield from ()

        patch.setattr(measure, "run", run)
        patch.setattr("rnncore.cli.bench.require_peers", lambda _: None)
        assert main(["bench", *QUICK, "-o", "md", *arguments]) == 0
    return [(work.mode, work.products) for work in found]


def test_precision_is_an_axis(capsys: pytest.CaptureFixture[str]) -> None:
    assert planned("--precision", "int8,bfloat16,float32", "--mode", "inference,training,step,frozen-step") == [
        *(("inference", precision) for precision in ("float32", "bfloat16", "int8")),
        *((mode, precision) for mode in ("training", "step") for precision in ("float32", "bfloat16")),
        *(("frozen-step", precision) for precision in ("float32", "bfloat16", "int8")),
    ]
    assert planned("--mode", "inference") == [("inference", "float32")]
    # A peer brings its precision along.
    assert planned("--mode", "inference", "--peer", "torch-int8") == [("inference", p) for p in ("float32", "int8")]
    assert planned("--mode", "inference", "--peer", "torch", "--precision", "int8") == [
        ("inference", "float32"),
        ("inference", "int8"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnncore.cli.bench.missing", lambda _: [])
        preset = planned("--mode", "inference", "--preset", "quick", "--precision", "int8")
    assert preset == [("inference", "float32"), ("inference", "int8")]
    capsys.readouterr()
    assert main(["bench", *QUICK, "--precision", "bfloat16,int8", "--dry-run"]) == 0
    assert "3 workloads on numpy: about " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--precision", "int8", "--mode", "training,step"],
            "--mode: expected inference or frozen-step beside products in int8, which are for frozen weights, got "
            "training, step",
        ),
        (
            ["--precision", "float32,bfloat16", "--dtype", "float32,float64"],
            "--dtype: expected float32 beside products in bfloat16, got float32, float64",
        ),
        (["--peer", "torch-int8", "--dtype", "float64"], "--dtype: expected float32 beside products in int8, got"),
        (["--precision", "float32", "--dtype", "float64"], "--dtype: expected float32 beside products in float32, got"),
    ],
)
def test_what_has_no_such_precision(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "run", lambda *_: pytest.fail("measured"))
    assert main(["bench", *QUICK, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"rnncore: {message}")
    assert error.count("\n") == 1


def test_a_backend_without_it_is_absent() -> None:
    with pytest.raises(peers.NotOfferedError, match="has no products in int8"):
        peers.make_task("cuda", replace(SMALL, precision="int8"), contextlib.ExitStack())


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_tasks_round(precision: str) -> None:
    """Results are those of a network that rounds; the reference is one that does not."""
    for mode in FROZEN if precision == "int8" else ALL_MODES:
        work = replace(SMALL, cell="gru", mode=mode, precision=precision)
        found, exact = (arrays_of(w.task(w.network("numpy"))()) for w in (work, work.unrounded))
        assert 1e-4 < measure.largest_error(found, exact) < 0.1
        reference = arrays_of(work.task(work.network("numpy", dtype="float64"))())
        assert measure.largest_error(exact, reference) < measure.CHECK_TOLERANCE["float32"]
    x, _ = SMALL.inputs()
    expected, _ = SMALL.network("numpy").freeze(precision)(x)
    rounded = replace(SMALL, precision=precision)
    np.testing.assert_array_equal(arrays_of(rounded.task(rounded.network("numpy"))())[0], expected)


def test_right_is_what_another_engine_computes_in_that_precision() -> None:
    """Rounding changes spikes, by which a result is far from that in float64, as `error` shows, and right."""
    work = Workload("lif", "inference", 50, 4, 32, 32, "float32", precision="bfloat16")
    reference = measure._reference(work)  # pyright: ignore[reportPrivateUsage]
    assert measure.largest_error(reference.rounded, reference.exact) > measure.CHECK_TOLERANCE["bfloat16"]
    assert _wrong(work, "numba", reference.rounded, reference) == ""
    assert _wrong(work, "numba", reference.exact, reference).endswith("against bfloat16")
    assert _wrong(work, "torch-bf16", reference.rounded, reference).endswith("against float64")
    assert _wrong(work, "torch-bf16", reference.exact, reference) == ""
    same = measure._reference(SMALL)  # pyright: ignore[reportPrivateUsage]
    assert same.rounded is same.exact
    assert _wrong(SMALL, "numba", [0.9 * part for part in same.exact], same) == "error 1e-01 against float64"


def test_rounded_weights_are_fewer_bytes() -> None:
    work = Workload("gru", "inference", 10, 4, 3, 5, "float32")
    for precision, size in (("bfloat16", 2), ("int8", 1)):
        rounded = replace(work, precision=precision)
        assert rounded.weight_bytes() == work.weight_bytes() * size // 4
        assert rounded.bytes() == (10 * 3 * 5 * 5 + 3 * 5 * 3) * size + 10 * 4 * (3 + 5) * 4
        assert rounded.flops() == work.flops()
    training, rounded = (replace(work, mode="training", precision=name) for name in (None, "bfloat16"))
    halved = 2 * (10 * 3 * 5 * 5 + 3 * 5 * 3) * 2
    assert training.bytes() - rounded.bytes() == halved


def rows(**seconds: float) -> list[Result]:
    """Rows by contender and precision, `numba_int8=0.5` say."""
    found = []
    for name, taken in seconds.items():
        contender, _, precision = name.partition("_")
        work = replace(SMALL, precision=precision or None)
        error = {"": 1e-7, "bfloat16": 4e-3, "int8": 1e-2}[precision]
        contender = {"torch": {"bfloat16": "torch-bf16", "int8": "torch-int8"}.get(precision, "torch")}.get(
            contender, contender
        )
        found.append(replace(made_up(contender, [taken], workload=work), error=error))
    return found


ALL = {"numba": 4.0, "numba_bfloat16": 3.0, "numba_int8": 2.0, "numpy": 8.0, "numpy_int8": 16.0}
ALL |= {"torch": 6.0, "torch_bfloat16": 30.0, "torch_int8": 5.0}


def test_rows_are_compared_with_those_that_are_no_less_precise() -> None:
    found = rows(**ALL)
    assert [ratios.versus_best(row, found) for row in found] == [1.5, 2.0, 2.5, 0.75, 5 / 16, None, None, None]
    assert [ratios.versus_reference(row, found) for row in found[:3]] == [2.0, 8 / 3, 4.0]
    assert [ratios.versus_unrounded(row, found) for row in found] == [None, 4 / 3, 2.0, None, 0.5, None, None, None]
    assert ratios.geometric_means(found)["numba", "inference", "int8"] == 2.5
    assert ratios.geometric_means(found)["numba", "inference"] == 1.5
    # A peer that is less precise is no rival, however fast.
    assert ratios.versus_best(found[0], rows(numba=4.0, torch_int8=1.0)) is None


def test_what_a_precision_gains_and_costs_in_words() -> None:
    found = rows(**ALL)
    said = verdict(found)
    assert (
        "numba, inference, int8: 2.00 times as fast as in float32, in the mean, with errors of up to 1.0e-02." in said
    )
    assert "numba, inference, bfloat16: 2.00 times as fast as the fastest of torch, in the mean." in said
    assert "numba, inference, int8: 2.50 times as fast as the fastest of torch-int8, in the mean." in said
    assert not [line for line in verdict(rows(numba_int8=2.0)) if "float32" in line]
    text = caption(found)
    assert "error: the largest against float64; " in text
    assert "vs best: time of the fastest peer that is no less precise over ours" in text
    text = caption(rows(numba_int8=2.0))
    assert text.startswith("float32; products in int8; ")
    assert "largest error against float64 1.0e-02" in text


def test_the_error_is_a_column() -> None:
    found = rows(**ALL)
    assert [row["error"] for row in table(found)[:3]] == ["1.0e-07", "4.0e-03", "1.0e-02"]
    assert list(narrowed(table(found))[0])[2:] == [
        *("precision", "T", "B", "I", "H", "backend", "µs/step", "vs best", "error"),
    ]
    alone = table(found[:1])[0]
    assert alone["error"] == "1.0e-07"
    assert "error" not in narrowed([alone])[0]
    assert "error" not in table([replace(found[0], error=None)])[0]


def test_rounded_products_have_no_share_of_the_roof() -> None:
    (row,) = rows(numba_int8=1e-12)
    assert not row.has_noisy_roof
    assert row.of_roof is None
    assert replace(row, workload=SMALL).has_noisy_roof


def test_peers_of_a_precision_are_suggested_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncore.bench.verdict.missing", lambda _: [])
    assert next(following(rows(numba=1.0))) == "rnncore bench --peer torch,onnxruntime,openvino"
    assert next(following(rows(numba=1.0, numba_bfloat16=1.0))) == (
        "rnncore bench --peer torch,torch-bf16,onnxruntime,openvino"
    )


def test_a_record_keeps_the_precision(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    kept = made_up_record(result(replace(SMALL, precision="int8"), "numba"), result(SMALL, "torch-int8"))
    path.write_text(to_json_text(kept))
    assert record.load(str(path)).results == kept.results
    path.write_text(to_json_text(kept).replace('"precision": "int8"', '"precision": "int4"'))
    with pytest.raises(record.RecordError, match="precision: expected None, bfloat16, int8, got 'int4'"):
        record.load(str(path))


def test_peers_stand_beside_ours_in_their_precision() -> None:
    named = ["numba", "torch", "torch-bf16", "torch-int8", "onnxruntime-int8", "openvino"]
    found = {name: peers.contenders_of(replace(SMALL, precision=name), named) for name in (None, "bfloat16", "int8")}
    assert found == {
        None: ["numba", "torch", "openvino"],
        "bfloat16": ["numba", "torch-bf16"],
        "int8": ["numba", "torch-int8", "onnxruntime-int8"],
    }
    with pytest.raises(peers.NotOfferedError, match="measured for inference alone"):
        peers.make_task("torch-bf16", replace(SMALL, mode="training", precision="bfloat16"), contextlib.ExitStack())
