"""The functions that kernels are made of: each is compiled once, on its own, and linked by its name.

They are written in Python (`compiled`) or in LLVM's intermediate representation (`emitted`), and call one another as
compiled Python calls anything. Numba's own dispatchers would compile a function again for each pattern of literal
arguments, and optimise it again with each caller.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from numba.core import types
from numba.extending import models, register_model

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
        returns = function.__annotations__.get("return") == "int"
        definition = Definition(PREFIX + name, len(inspect.signature(function).parameters), returns, python=function)
        DEFINITIONS[definition.name] = definition
        return cast(Callable[P, R], Function(definition, inline=False))

    return decorate


def emitted(
    name: str,
    parameters: Sequence[str],
    body: Body,
    *,
    returns: bool = False,
    inline: bool = False,
    finished: bool = False,
) -> Any:
    """A function whose instructions `body` writes; where the call stands if `inline`, else in a function of its own.

    `finished` is as in `Definition`.
    """
    definition = Definition(PREFIX + name, len(parameters), returns, body=body, finished=finished)
    if not inline:
        DEFINITIONS[definition.name] = definition
    return Function(definition, inline)


def call(builder: Any, function: Any, arguments: Sequence[Any]) -> Any:
    """Call a function of `compiled` or `emitted` from another's body."""
    return builder.call(DEFINITIONS[PREFIX + function.__name__].declare(builder.module), arguments)


def make_caller(parameters: Sequence[str]) -> Any:
    """`caller(address, ...)`: call the function at an address with arguments of these names."""

    def body(builder: Any, address: Any, *arguments: Any) -> None:
        call_address(builder, address, arguments)

    return emitted("call_address", ("address", *parameters), body, inline=True)


class Native(types.Callable, types.Opaque):  # type: ignore[misc]
    """Numba's type of a function that compiled Python calls: of integers, with LLVM's instructions for a call of it.

    Numba's own types of functions would look for a signature at each call, and load what Numba has been told since.
    """

    def __init__(self, definition: Definition, inline: bool) -> None:
        self.definition, self.inline = definition, inline
        self.signature = (types.int64 if definition.returns else types.void)(*[types.int64] * definition.arity)
        super().__init__(definition.name)

    @property
    def key(self) -> Any:
        return self.definition, self.inline

    def get_call_type(self, context: Any, args: Sequence[Any], kws: Any) -> Any:
        fits = len(args) == self.definition.arity and not kws
        return self.signature if fits and all(isinstance(a, types.Integer) for a in args) else None

    def get_call_signatures(self) -> Any:
        return [self.signature], False

    def get_impl_key(self, sig: Any) -> Any:
        return self

    def generate(self, context: Any, builder: Any, signature: Any, values: Any) -> Any:
        """Emit a call, or what is called if it is `inline`."""
        if self.inline:
            assert self.definition.body is not None
            result = self.definition.body(builder, *values)
        else:
            result = builder.call(self.definition.declare(builder.module), values)
        return result if self.definition.returns else context.get_dummy_value()


register_model(Native)(models.OpaqueModel)


class Function:
    """What stands for a function in Python that is compiled."""

    def __init__(self, definition: Definition, inline: bool) -> None:
        self.__name__ = definition.name.removeprefix(PREFIX)
        self._numba_type_ = Native(definition, inline)


def _smaller(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed("<", x, y), x, y)


def _larger(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed(">", x, y), x, y)


BUILTINS = {
    min: Native(Definition("min", 2, returns=True, body=_smaller), inline=True),
    max: Native(Definition("max", 2, returns=True, body=_larger), inline=True),
}
"""Python's own functions in compiled Python, of two integers."""
