"""A value that stands for any engine's, to see what a cell's functions do with it."""

from __future__ import annotations

from typing import Any


class Symbol:
    """A node of the expression that a cell's function computes: an operation and what it is applied to.

    It supports what every engine supports, `+ - * /`, negation and the functions of `cells.functions`, on symbols and
    Python numbers, and raises TypeError for anything else.

    Attributes:
        operation: "add", "sub", "mul", "div", "neg", a function's name, or "input".
        arguments: symbols and numbers; of an input, its name.
    """

    __slots__ = ("arguments", "operation")
    __array_ufunc__ = None

    def __init__(self, operation: str, *arguments: Any) -> None:
        self.operation = operation
        self.arguments = arguments

    def call(self, function: str, *numbers: float) -> Symbol:
        """The function of `cells.functions` applied to this value."""
        for number in numbers:
            if type(number) not in (int, float):
                raise TypeError(f"{function}: expected limits that are Python numbers, got {type(number).__name__}")
        return Symbol(function, self, *numbers)

    def where_positive(self, value: Any) -> Symbol:
        """The function of `cells.functions` of this value and another, or a number."""
        return Symbol("where_positive", self, _operand(value))

    def __add__(self, other: Any) -> Symbol:
        return Symbol("add", self, _operand(other))

    def __radd__(self, other: Any) -> Symbol:
        return Symbol("add", _operand(other), self)

    def __sub__(self, other: Any) -> Symbol:
        return Symbol("sub", self, _operand(other))

    def __rsub__(self, other: Any) -> Symbol:
        return Symbol("sub", _operand(other), self)

    def __mul__(self, other: Any) -> Symbol:
        return Symbol("mul", self, _operand(other))

    def __rmul__(self, other: Any) -> Symbol:
        return Symbol("mul", _operand(other), self)

    def __truediv__(self, other: Any) -> Symbol:
        return Symbol("div", self, _operand(other))

    def __rtruediv__(self, other: Any) -> Symbol:
        return Symbol("div", _operand(other), self)

    def __neg__(self) -> Symbol:
        return Symbol("neg", self)

    def _in_place(self, other: Any) -> Symbol:
        raise TypeError("a value of a cell cannot be changed in place: write x = x + y, not x += y")

    __iadd__ = __isub__ = __imul__ = __itruediv__ = _in_place

    def _no_truth(self, *_: Any) -> bool:
        raise TypeError("a value of a cell cannot be compared or tested: use where_positive, relu, heaviside or clamp")

    __bool__ = __lt__ = __le__ = __gt__ = __ge__ = _no_truth
    __eq__ = __ne__ = _no_truth


def _operand(value: Any) -> Any:
    if isinstance(value, Symbol) or type(value) in (int, float):
        return value
    raise TypeError(
        f"a value of a cell can be combined with another or a Python number, not with {type(value).__name__}"
    )
