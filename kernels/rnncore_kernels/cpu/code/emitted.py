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

from ..arguments import CLASSES, Arguments
from .ir import I64, PREFIX, Body, Definition, call_address, word_pointer

P = ParamSpec("P")
R = TypeVar("R")

DEFINITIONS: dict[str, Definition] = {}
"""What was defined last under each name."""


def once(make: Callable[P, R]) -> Callable[P, R]:
    """Decorator: what defines functions does so once, and these are the last under their names again."""
    made: dict[tuple[Any, ...], tuple[R, dict[str, Definition]]] = {}

    @functools.wraps(make)
    def make_once(*given: P.args, **named: P.kwargs) -> R:
        key = *given, *named.items()
        if key not in made:
            before = {**DEFINITIONS}
            result = make(*given, **named)
            made[key] = result, {name: new for name, new in DEFINITIONS.items() if before.get(name) is not new}
        result, definitions = made[key]
        DEFINITIONS.update(definitions)
        return result

    return make_once


def compiled(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: a Python function of integers, which returns one if it is annotated with `-> int`.

    An integer whose annotation is a class of `arguments` is the address of such a structure. `name` tells the function
    from others in the same kernels.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        annotations = function.__annotations__
        parameters = [*inspect.signature(function).parameters, "return"]
        kinds = tuple((k, annotations[x]) for k, x in enumerate(parameters) if annotations.get(x) in CLASSES)
        returns = annotations.get("return") not in ("None", None)
        definition = Definition(PREFIX + name, len(parameters) - 1, returns, kinds, python=function)
        DEFINITIONS[definition.name] = definition
        return cast(Callable[P, R], Function(definition, inline=False))

    return decorate


def emitted(
    name: str,
    parameters: Sequence[str],
    body: Body,
    *,
    returns: bool | type[Arguments] = False,
    inline: bool = False,
    finished: bool = False,
) -> Any:
    """A function whose instructions `body` writes; where the call stands if `inline`, else in a function of its own.

    It returns an integer or nothing, or the address of a structure. `finished` is as in `Definition`.
    """
    kinds = ((len(parameters), returns.__name__),) if isinstance(returns, type) else ()
    definition = Definition(PREFIX + name, len(parameters), bool(returns), kinds, body=body, finished=finished)
    if not inline:
        DEFINITIONS[definition.name] = definition
    return Function(definition, inline)


def address_of(structure: type[Arguments], name: str) -> Any:
    """`address(structure)`: the address of a field."""
    offset = I64(8 * structure.names.index(name))
    return emitted(
        f"{structure.__name__}_{name}", ("structure",), lambda b, s: b.add(s, offset), returns=True, inline=True
    )


def call(builder: Any, function: Any, arguments: Sequence[Any]) -> Any:
    """Call a function of `compiled` or `emitted` from another's body."""
    return builder.call(DEFINITIONS[PREFIX + function.__name__].declare(builder.module), arguments)


def make_caller(parameters: Sequence[str]) -> Any:
    """`caller(address, ...)`: call the function at an address with arguments of these names."""

    def body(builder: Any, address: Any, *arguments: Any) -> None:
        call_address(builder, address, arguments)

    return emitted("call_address", ("address", *parameters), body, inline=True)


class Structure(types.Type):  # type: ignore[misc]
    """Numba's type of the address of a structure of `arguments`; what its fields hold are integers."""

    def __init__(self, name: str) -> None:
        self.fields = CLASSES[name].names
        super().__init__(name)


class _Address(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Structure) -> None:
        super().__init__(manager, kind, I64)


register_model(Structure)(_Address)


def field(context: Any, builder: Any, kind: Structure, value: Any, name: str) -> Any:
    """Emit a load of a field, as Numba asks for attributes."""
    return builder.load(word_pointer(builder, value, kind.fields.index(name)))


def set_field(context: Any, builder: Any, kind: Structure, name: str, values: Any) -> None:
    """Emit a store to a field; `values` are the structure's address and what is stored."""
    builder.store(values[1], word_pointer(builder, values[0], kind.fields.index(name)))


def numba_types(definition: Definition) -> tuple[tuple[Any, ...], Any]:
    """Numba's types of the arguments of a function and of its result."""
    known = {place: Structure(name) for place, name in definition.kinds}
    arguments = tuple(known.get(place, types.int64) for place in range(definition.arity))
    return arguments, known.get(definition.arity, types.int64) if definition.returns else types.void


class Native(types.Callable, types.Opaque):  # type: ignore[misc]
    """Numba's type of a function that compiled Python calls: of integers, with LLVM's instructions for a call of it.

    Numba's own types of functions would look for a signature at each call, and load what Numba has been told since.
    """

    def __init__(self, definition: Definition, inline: bool) -> None:
        self.definition, self.inline = definition, inline
        arguments, result = numba_types(definition)
        self.signature = result(*arguments)
        super().__init__(definition.name)

    @property
    def key(self) -> Any:
        return self.definition, self.inline

    def get_call_type(self, context: Any, args: Sequence[Any], kws: Any) -> Any:
        fits = len(args) == self.definition.arity and not kws
        return self.signature if fits and all(isinstance(a, (types.Integer, Structure)) for a in args) else None

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
