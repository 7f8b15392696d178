"""`rnncore choose`: tasks, what trials learn, halving, fronts, what is printed and refused."""

from __future__ import annotations

import itertools
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text

from rnncore.bench.plots.panel import _figure
from rnncore.bench.plots.style import settings
from rnncore.bench.plots.theme import LIGHT
from rnncore.choose import Batch, Task, search, tasks
from rnncore.choose.outcome import Outcome, outcomes, table
from rnncore.choose.plot import panels
from rnncore.choose.trial import Choice, Point, Trial
from rnncore.cli import main

OWN = """
import numpy as np
from rnncore.choose import Batch, Task

def sign():
    def draw(rng):
        x = rng.standard_normal((4, 16, 1)).astype("float32")
        return Batch(x, (x[-1, :, 0] > 0).astype(int))
    return Task(draw, [draw(np.random.default_rng(0))], outputs=2)

def numbers():
    return 3

def broken():
    def draw(rng):
        return Batch(np.zeros((4, 16, 1), "float32"), np.zeros(3, int))
    return Task(draw, [draw(None)], outputs=2)
"""
QUICK = ["--cell", "rnn,gru", "-H", "4", "--rate", "0.03", "--seeds", "2", "--backend", "numpy"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of tasks, where commands run."""
    (tmp_path / "own_tasks_of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def sign(rng: np.random.Generator) -> Batch:
    x = rng.standard_normal((4, 16, 1)).astype("float32")
    return Batch(x, (x[-1, :, 0] > 0).astype(int))


SIGN = Task(sign, [sign(np.random.default_rng(0))], outputs=2)


def made_up(cell: str, losses: list[float], update: float = 1.0, predict: float = 1.0) -> Trial:
    trial = Trial(SIGN, Choice(cell, 4, 0.01), 0, "numpy")
    trial.points = [Point(update * n, n, loss, 0.5) for n, loss in enumerate(losses, 1)]
    trial.seconds, trial.iterations, trial.predict_seconds = update * len(losses), len(losses), predict
    return trial


@pytest.mark.parametrize("name", [name for name in tasks.TASKS if name not in tasks.NEEDS])
def test_built_in_tasks(name: str) -> None:
    task = tasks.task_of(name)
    one, other = (task.draw(np.random.default_rng(seed)) for seed in (1, 1))
    np.testing.assert_array_equal(one.x, other.x)
    trial = Trial(task, Choice("gru", 4, 0.01), 0, "numpy")
    trial.train(iterations=1)
    assert 0 < trial.best.loss < 10 * task.guess() + 1


def test_what_adding_asks() -> None:
    batch = tasks.adding().draw(np.random.default_rng(0))
    np.testing.assert_allclose((batch.x[..., 0] * batch.x[..., 1]).sum(0), batch.target[:, 0], rtol=1e-5)
    assert (batch.x[..., 1].sum(0) == 2).all()


def test_what_copying_asks() -> None:
    batch = tasks.copying().draw(np.random.default_rng(0))
    np.testing.assert_array_equal(batch.x[: tasks.SHOWN].argmax(-1), batch.target[-tasks.SHOWN :])
    assert (batch.target[: -tasks.SHOWN] == -1).all()
    assert tasks.copying().guess() == pytest.approx(np.log(tasks.SYMBOLS), rel=0.01)


def test_a_trial_learns_and_is_made_again_by_its_seed() -> None:
    first, again = (Trial(SIGN, Choice("gru", 4, 0.03), 3, "numpy") for _ in range(2))
    first.train(iterations=60)
    first.train(iterations=60)
    again.train(iterations=120)
    assert first.points[-1].loss == again.points[-1].loss < 0.7 * SIGN.guess()
    assert first.points[-1].iterations == 120
    assert first.points[-1].right is not None
    assert first.points[-1].right > 0.8


def test_gradients_are_those_of_the_loss() -> None:
    """By differences, for both losses and both ways to ask."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 2)).astype("float32")
    for loss, every in itertools.product(("classes", "numbers"), (False, True)):
        shape = (3, 5) if every else (5,)
        target = rng.integers(0, 2, shape) if loss == "classes" else rng.standard_normal((*shape, 2)).astype("float32")
        batch = Batch(x, target, np.array([3, 1, 2, 3, 3]))
        trial = Trial(Task(lambda _, b=batch: b, [batch], 2, loss, every), Choice("gru", 3, 0.1), 0, "numpy")  # type: ignore[misc]
        grads = trial._gradients(batch)
        for name, array in trial.adam.parameters.items():
            at, step = (0,) * array.ndim, np.float32(1e-2)
            start, losses = array[at], []
            for by in (step, -step):
                array[at] = start + by
                losses.append(trial._evaluate()[0])
            array[at] = start
            assert grads[name][at] == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=2e-2, abs=2e-4), name


def test_the_better_half_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock) * 1e-3)
    losses = {"rnn": 0.4, "gru": 0.1, "lstm": 0.2, "mgu": 0.3}

    def train(self: Trial, seconds: float, iterations: float = 0) -> None:
        self.iterations += 1
        self.points.append(Point(1, self.iterations, losses[self.choice.cell], None))

    monkeypatch.setattr(Trial, "train", train)
    monkeypatch.setattr(Trial, "warm", lambda self: None)
    trials = search.make_trials(SIGN, search.choices([*losses], [4], [0.1]), [0, 1], "numpy")
    steps = list(search.halving(trials, deadline=10))
    assert [step.trial.choice.cell for step in steps[-8:-4]] == ["gru", "gru", "lstm", "lstm"]
    assert {trial.choice.cell: trial.iterations for trial in trials} == {"rnn": 2, "gru": 4, "lstm": 4, "mgu": 2}
    assert {(step.round, step.rounds) for step in steps} == {(1, 2), (2, 2)}


def test_each_is_trained_once_however_short_the_time() -> None:
    trials = search.make_trials(SIGN, search.choices(["rnn", "gru"], [4, 5], [0.1]), [0], "numpy")
    list(search.halving(trials, deadline=time.perf_counter() - 1))
    assert [trial.iterations for trial in trials] == [search.SLICES] * 4


def test_front_and_order() -> None:
    cheap, best, worse = (
        made_up("rnn", [0.5], 1, 1),
        made_up("gru", [0.3, 0.1, 0.2], 2, 2),
        made_up("lstm", [0.6], 2, 2),
    )
    found = outcomes([cheap, best, worse, Trial(SIGN, Choice("mgu", 4, 0.01), 0, "numpy")])
    assert [(one.choice.cell, one.is_front) for one in found] == [("gru", True), ("rnn", True), ("lstm", False)]
    assert (found[0].loss, found[0].seconds, found[0].update_seconds) == (0.1, 4, 2)
    assert "compute" not in table(found)[0]
    rounded = replace(best, choice=best.choice._replace(compute="bfloat16"))
    assert [row["compute"] for row in table(outcomes([best, rounded]))] == ["float32", "bfloat16"]
    nan = Outcome(Choice("rnn", 4, 0.01), (made_up("rnn", [float("nan")]),))
    assert nan.loss == float("inf")


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_names_in_a_picture_do_not_overlap(compute: str) -> None:
    """Points that lie close, or in the same place, are told apart."""
    twin = Choice("mingru", 128, 0.003, compute), Choice("mingru", 128, 0.01)
    found = [Outcome(choice, (made_up(choice.cell, [0.2]),), is_front=True) for choice in twin]
    with settings(LIGHT):
        figure = _figure(panels("adding", 0.3, found), LIGHT)
        figure.draw_without_rendering()
        shown = [text for text in figure.findobj(Text) if "128" in text.get_text()]
        boxes = [text.get_window_extent() for text in shown]
    names = ["mingru H=128, 0.003", "mingru H=128, 0.01"]
    assert [text.get_text() for text in shown] == (
        names if compute == "float32" else [f"{names[0]}, bfloat16", f"{names[1]}, float32"]
    )
    assert not boxes[0].overlaps(boxes[1])
    assert all(figure.bbox.containsx(box.x0) and figure.bbox.containsx(box.x1) for box in boxes)


def test_fewer_digits_are_a_choice(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["choose", "--task", "own_tasks_of_mine:sign", *QUICK, "--cell", "gru", "--seeds", "1"]
    assert main([*arguments, "--compute", "bfloat16", "--iterations", "30", "-o", "a.json"]) == 0
    again = re.search(r"Again: rnncore (.* --compute bfloat16 --backend numpy)", capsys.readouterr().out)
    assert again is not None
    assert main([*again[1].split(), "-o", "b.json"]) == 0
    assert main([*arguments, "--iterations", "30", "-o", "c.json"]) == 0
    rounded, same, exact = (json.loads((here / f"{name}.json").read_text())["choices"][0] for name in "abc")
    assert (rounded["compute"], exact["compute"]) == ("bfloat16", "float32")
    assert rounded["loss"] == same["loss"] != exact["loss"]


def test_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["choose", "--task", "own_tasks_of_mine:sign", *QUICK, "--iterations", "30"]
    assert main([*arguments, "-o", "a.json", "-o", "a.svg"]) == 0
    printed = capsys.readouterr().out
    header = [cell.strip() for cell in printed.splitlines()[0].split("|")[1:-1]]
    assert header[:6] == ["cell", "H", "rate", "loss", "spread", "right"]
    assert "Best: " in printed
    content = json.loads((here / "a.json").read_text())
    assert {(choice["cell"], len(choice["trials"])) for choice in content["choices"]} == {("rnn", 2), ("gru", 2)}
    assert content["task"] == "own_tasks_of_mine:sign"
    assert content["guess"] == pytest.approx(np.log(2), rel=0.1)
    assert "Loss over time to train" in (here / "a.svg").read_text()
    again = re.search(r"Again: rnncore (.*)", printed)
    assert again is not None
    assert main([*again[1].split(), "-o", "b.json"]) == 0
    best = min(content["choices"], key=lambda choice: choice["loss"])
    (repeated,) = json.loads((here / "b.json").read_text())["choices"]
    assert repeated["loss"] == min(trial["points"][-1]["loss"] for trial in best["trials"])


def test_cells_with_inputs_are_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["choose", "--task", "own_tasks_of_mine:sign", *QUICK, "--iterations", "3", "--cell", "rnn,cfc"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == "rnncore: cfc is left out: it takes dt, and a task gives x alone\n"
    assert "| rnn" in printed.out


def test_an_interruption_keeps_what_there_is(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(trials: Any, iterations: int) -> Any:
        trials[0].train(iterations=2)
        trials[1].train(iterations=2)
        trials[2].train(iterations=2)
        yield search.Step(trials[0], 1, 1, 0.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "exactly", interrupted)
    arguments = ["choose", "--task", "own_tasks_of_mine:sign", *QUICK, "--iterations", "9", "-o", "a.json"]
    assert main(arguments) == 130
    content = json.loads((here / "a.json").read_text())
    assert {choice["cell"]: len(choice["trials"]) for choice in content["choices"]} == {"rnn": 2, "gru": 1}
    assert not content["complete"]
    printed = capsys.readouterr()
    assert printed.err == "rnncore: interrupted\n"
    (gru,) = (line for line in printed.out.splitlines() if line.startswith("| gru"))
    assert gru.split("|")[5].strip() == "-"  # one seed has no spread


def test_what_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (
            ["--task", "chess"],
            "--task: expected one of adding, copying, characters, digits, or package.module:function",
        ),
        (["--task", "coping"], "of your own, got 'coping': did you mean 'copying'?"),
        (["--iterations", "3", "--budget", "4s"], "argument --budget: not allowed with argument --iterations"),
        (["--task", "own_tasks_of_mine:none"], "has no attribute 'none'"),
        (["--task", "own_tasks_of_mine:numbers"], "expected a rnncore.choose.Task, got int"),
        (["--task", "own_tasks_of_mine:broken"], "draw: expected a target (16,) of integers, got numpy.ndarray (3,)"),
        (["--budget", "0"], "expected a time above 0, got '0'"),
        (["--budget", "soon"], "expected a number of seconds, or a time as 5ms, 300us, 2min, got 'soon'"),
        (["--rate", "0.1,0"], "expected numbers above 0, got '0.1,0'"),
        (["-o", "a.txt"], "-o: expected a file ending in .json, .svg, .png, got a.txt"),
        (["--seed", "-1"], "--seed: expected 0 or more, got -1"),
        (["--cell", "cfc"], "--cell: expected a cell that takes no inputs beside x, as a task gives x alone"),
    ):
        try:
            status: Any = main(["choose", *arguments])
        except SystemExit as error:
            status = error.code
        assert status == 2
        assert message in capsys.readouterr().err, arguments
