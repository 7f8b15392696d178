"""Scalars in float64 with automatic differentiation: the oracle's numbers.

Reverse accumulation as in A. Griewank and A. Walther, Evaluating Derivatives, SIAM 2008, chapter 3. A function with
pieces depends on nothing where it is constant, so that an infinite cotangent stops there: 0 times infinity is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Vector = list["Scalar"]


class Scalar:
    """A number that remembers its sources: pairs of a Scalar and the derivative by it.

    `rounded` is a function of its cotangent, before that is multiplied with the derivatives; None where it is as it is.
    """

    __slots__ = ("grad", "rounded", "sources", "value")

    def __init__(
        self,
        value: float,
        sources: tuple[tuple[Scalar, float], ...] = (),
        rounded: Callable[[float], float] | None = None,
    ) -> None:
        self.value = value
        self.sources = sources
        self.grad = 0.0
        self.rounded = rounded

    def __add__(self, other: Scalar | float) -> Scalar:
        if isinstance(other, Scalar):
            return Scalar(self.value + other.value, ((self, 1.0), (other, 1.0)))
        return Scalar(self.value + other, ((self, 1.0),))

    def __mul__(self, other: Scalar | float) -> Scalar:
        if isinstance(other, Scalar):
            return Scalar(self.value * other.value, ((self, other.value), (other, self.value)))
        return Scalar(self.value * other, ((self, other),))

    def __sub__(self, other: Scalar | float) -> Scalar:
        if isinstance(other, Scalar):
            return Scalar(self.value - other.value, ((self, 1.0), (other, -1.0)))
        return Scalar(self.value - other, ((self, 1.0),))

    def __rsub__(self, other: float) -> Scalar:
        return Scalar(other - self.value, ((self, -1.0),))

    def __neg__(self) -> Scalar:
        return Scalar(-self.value, ((self, -1.0),))

    def __truediv__(self, other: Scalar) -> Scalar:
        value = self.value / other.value
        return Scalar(value, ((self, 1.0 / other.value), (other, -value / other.value)))

    __radd__ = __add__
    __rmul__ = __mul__


def exp(a: Scalar) -> Scalar:
    """e**a, infinite where it overflows."""
    value = math.exp(a.value) if a.value < 709.0 else math.inf
    return Scalar(value, ((a, value),))


def tanh(a: Scalar) -> Scalar:
    """Hyperbolic tangent; its derivative 1 / cosh^2 would overflow beyond 300, where it is 0."""
    value = math.tanh(a.value)
    return Scalar(value, ((a, 1.0 / math.cosh(a.value) ** 2 if abs(a.value) < 300 else 0.0),))


def sigmoid(a: Scalar) -> Scalar:
    """1 / (1 + exp(-a)), whose exponential would overflow below -700, where it is 0."""
    value = 1.0 / (1.0 + math.exp(-a.value)) if a.value > -700 else 0.0
    return Scalar(value, ((a, value * (1.0 - value)),))


def log_sigmoid(a: Scalar) -> Scalar:
    """log(sigmoid(a)); its derivative is sigmoid(-a)."""
    rest = math.log1p(math.exp(-abs(a.value)))
    return Scalar(min(a.value, 0.0) - rest, ((a, math.exp(-rest - max(a.value, 0.0))),))


def square_root(a: Scalar) -> Scalar:
    """The square root of a positive number."""
    value = math.sqrt(a.value)
    return Scalar(value, ((a, 0.5 / value),))


def relu(a: Scalar) -> Scalar:
    """max(a, 0), with the derivative 0 at 0."""
    return Scalar(max(a.value, 0.0), ((a, 1.0),) if a.value > 0 else ())


def identity(a: Scalar) -> Scalar:
    """The value itself: an Elman network without an activation."""
    return a


def greater(a: Scalar, b: Scalar) -> Scalar:
    """The greater of two, which is all that it depends on; `a` where they are equal."""
    chosen = a if a.value >= b.value else b
    return Scalar(chosen.value, ((chosen, 1.0),))


def spike(a: Scalar, slope: float) -> Scalar:
    """1 where a > 0, else 0, with 1 / (1 + slope |a|)^2 in place of its derivative."""
    return Scalar(1.0 if a.value > 0 else 0.0, ((a, (1.0 + slope * abs(a.value)) ** -2),))


def total(values: Vector) -> Scalar:
    """The sum, as one node."""
    return Scalar(math.fsum(v.value for v in values), tuple((v, 1.0) for v in values))


def dot(weights: Vector, values: Vector, bias: Scalar, rounded: Callable[[float], float] | None = None) -> Scalar:
    """bias + sum of products, as one node: the graph stays small.

    `rounded` is a function of the cotangent of the sum.
    """
    total, sources = 0.0, []
    for w, v in zip(weights, values, strict=True):
        total += w.value * v.value
        sources += [(w, v.value), (v, w.value)]
    if rounded is None:
        return Scalar(bias.value + total, ((bias, 1.0), *sources))
    return bias + Scalar(total, tuple(sources), rounded)


def each(function: Callable[..., Scalar], *vectors: Vector) -> Vector:
    """The function of each unit's values, unit by unit."""
    return [function(*values) for values in zip(*vectors, strict=True)]


def back_propagate(outputs: Sequence[tuple[Scalar, float]]) -> None:
    """Set `grad` of everything that the outputs depend on, for these cotangents."""
    order: list[Scalar] = []
    seen: set[int] = set()
    stack = [(node, False) for node, _ in outputs]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((source, False) for source, _ in node.sources)
    for node, cotangent in outputs:
        node.grad += cotangent
    for node in reversed(order):
        cotangent = node.grad if node.rounded is None else node.rounded(node.grad)
        for source, derivative in node.sources:
            source.grad += derivative * cotangent
