"""Calls that Hypothesis draws, for comparisons with the oracle."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


@st.composite
def calls(draw: st.DrawFn, /, **options: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Arguments of `make_call` that every test draws, and others of its own, by name."""
    steps, batch, both = draw(st.integers(0, 5)), draw(st.integers(0, 5)), draw(st.booleans())
    return {
        "steps": steps,
        "batch": batch,
        "lengths": draw(st.none() | st.lists(st.integers(0, steps), min_size=batch, max_size=batch)),
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": both,
        "direction": "forward" if both else draw(st.sampled_from(["forward", "reverse"])),
        "seed": draw(st.integers(0, 1000)),
        **{name: draw(values) for name, values in options.items()},
    }


def resets() -> st.SearchStrategy[str | None]:
    """Whether rows begin anew, and with which state."""
    return st.sampled_from([None, "zeros", "given"])
