"""The functions that kernels are made of: each is compiled once, on its own, and linked by its name.

They are written in Python (`compiled`) or in LLVM's intermediate representation (`emitted`), and call one another as
compiled Python calls anything. Numba's own dispatchers would compile a function again for each pattern of literal
arguments, and optimise it again with each caller.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from numba.core import types
from numba.extending import intrinsic

from ...codegen.front_end import named
from ..shape import Shape
from .ir import PREFIX, Body, Definition, call_address

P = ParamSpec("P")
R = TypeVar("R")

DEFINITIONS: dict[str, Definition] = {}
"""What was defined last under each name."""


def once_for_shape(make: Callable[[Shape], R]) -> Callable[[Shape], R]:
    """Decorator: what defines functions for a shape does so once, and these are the last under their names again."""
    made: dict[Shape, tuple[R, dict[str, Definition]]] = {}

    @functools.wraps(make)
    def make_once(shape: Shape) -> R:
        if shape not in made:
            before = {**DEFINITIONS}
            result = make(shape)
            made[shape] = result, {name: new for name, new in DEFINITIONS.items() if before.get(name) is not new}
        result, definitions = made[shape]
        DEFINITIONS.update(definitions)
        return result

    return make_once


def compiled(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: a Python function of integers, which returns one if it is annotated with `-> int`.

    `name` tells it from other functions in the same kernels.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = list(inspect.signature(function).parameters)
        returns = function.__annotations__.get("return") == "int"
        definition = Definition(PREFIX + name, len(parameters), returns, python=function)
        DEFINITIONS[definition.name] = definition
        call_it: Callable[P, R] = _callable(definition, parameters)
        return call_it

    return decorate


def emitted(name: str, parameters: Sequence[str], body: Body, *, returns: bool = False, inline: bool = False) -> Any:
    """A function whose instructions `body` writes; where the call stands if `inline`, else in a function of its own."""
    definition = Definition(PREFIX + name, len(parameters), returns, body=body)
    if not inline:
        DEFINITIONS[definition.name] = definition
    return _callable(definition, parameters, inline)


def call(builder: Any, function: Any, arguments: Sequence[Any]) -> Any:
    """Call a function of `compiled` or `emitted` from another's body."""
    return builder.call(DEFINITIONS[PREFIX + function.__name__].declare(builder.module), arguments)


def make_caller(parameters: Sequence[str]) -> Any:
    """`caller(address, ...)`: call the function at an address with arguments of these names."""

    def body(builder: Any, address: Any, *arguments: Any) -> None:
        call_address(builder, address, arguments)

    return emitted("call_address", ("address", *parameters), body, inline=True)


def _callable(definition: Definition, parameters: Sequence[str], inline: bool = False) -> Any:
    """What compiled Python calls."""

    def typing_of(context: Any, *arguments: Any) -> Any:
        signature = (types.int64 if definition.returns else types.void)(*[types.int64] * definition.arity)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            if inline:
                assert definition.body is not None
                result = definition.body(builder, *values)
            else:
                result = builder.call(definition.declare(builder.module), values)
            return result if definition.returns else context.get_dummy_value()

        return signature, generate

    return intrinsic(named(typing_of, definition.name.removeprefix(PREFIX), parameters))
