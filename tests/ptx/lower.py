"""Instructions in terms of fewer: predicates become branches, calls the body of what they call.

Calls to functions that a module only declares are known where cooperative groups synchronise a grid with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import UnsupportedInstruction
from .syntax import (
    Address,
    Function,
    Group,
    Immediate,
    Instruction,
    Label,
    Module,
    Not,
    Operand,
    Pair,
    Register,
    Symbol,
    Variable,
    Vector,
)
from .types import TYPES, Type

CARRY = "carry flag"
"""The register that instructions with .cc write and addc, subc and madc read."""

GRID_SYNC = ("'grid", "sync")
"""The instruction that a call of cudaCGSynchronize becomes; no text can have its name."""


@dataclass
class Lowered:
    """A kernel that calls nothing and has predicates on branches alone."""

    name: str
    parameters: list[Variable]
    registers: dict[str, Type]
    variables: dict[str, Variable]
    body: list[Instruction | Label]
    max_threads: int


def lower(module: Module, kernel: Function) -> Lowered:
    """A kernel with all that it calls.

    Raises:
        UnsupportedInstruction: it calls what the module does not define, or itself.
    """
    registers = {CARRY: TYPES["pred"]}
    result = Lowered(kernel.name, kernel.parameters, registers, {}, [], kernel.max_threads)
    _Inliner(module, result).inline(kernel, "", {}, None, (kernel.name,))
    return result


class _Inliner:
    """Appends function bodies to a kernel."""

    def __init__(self, module: Module, result: Lowered) -> None:
        self._module, self._result = module, result
        self._labels = 0

    def inline(
        self, function: Function, prefix: str, params: dict[str, str], end: str | None, callers: tuple[str, ...]
    ) -> None:
        """Append a function's body.

        Args:
            function: whose body.
            prefix: of the names of its registers, variables and labels.
            params: for each parameter and result of it, the variable of its caller.
            end: label after the body, which it returns to; None of the kernel itself.
            callers: names of the functions around it, and its own.
        """
        for name, kind in function.registers.items():
            self._result.registers[prefix + name] = kind
        for name, variable in function.variables.items():
            self._result.variables[prefix + name] = replace(variable, name=prefix + name)
        own = {p.name for p in function.parameters} if end is None else set()
        scope = _Scope(function, prefix, params)
        for item in function.body:
            if isinstance(item, Label):
                self._result.body.append(Label(prefix + item.name))
                continue
            moved = replace(item, operands=tuple(map(scope.rename, item.operands)))
            if moved.predicate is not None:
                predicate = scope.rename(moved.predicate)
                assert isinstance(predicate, Register | Not)
                moved = replace(moved, predicate=predicate)
            self._add(moved, scope, own, end, callers)

    def _add(self, item: Instruction, scope: _Scope, own: set[str], end: str | None, callers: tuple[str, ...]) -> None:
        body, opcode = self._result.body, item.parts[0]
        if item.predicate is not None and opcode != "bra":
            self._labels += 1
            after = f"'after{self._labels}"
            predicate = item.predicate
            opposite = predicate.register if isinstance(predicate, Not) else Not(predicate)
            body.append(Instruction(("bra",), (Symbol(after),), item.line, opposite))
            self._add(replace(item, predicate=None), scope, own, end, callers)
            body.append(Label(after))
        elif opcode == "call":
            self._call(item, scope, callers)
        elif item.name in ("ret", "ret.uni") and end is not None:
            body.append(Instruction(("bra",), (Symbol(end),), item.line))
        elif item.name in ("ret", "ret.uni", "exit"):
            body.append(Instruction(("exit",), (), item.line))
        elif opcode in ("ld", "st") and "param" in item.name.replace("::", ".").split("."):
            self._parameter(item, own)
        else:
            body.append(item)

    def _call(self, item: Instruction, scope: _Scope, callers: tuple[str, ...]) -> None:
        operands = list(item.operands)
        if operands and not isinstance(operands[0], Group):
            operands.insert(0, Group(()))
        results, target, arguments = (*operands, Group(()))[:3] if len(operands) in (2, 3) else (None, None, None)
        if (
            item.parts[1:] not in ((), ("uni",))
            or not isinstance(results, Group)
            or not isinstance(target, Symbol)
            or not isinstance(arguments, Group)
        ):
            raise UnsupportedInstruction(f"line {item.line}: a call of this form")
        name = target.name.removeprefix(scope.prefix)
        function = self._module.functions.get(name)
        if name == "cudaCGGetIntrinsicHandle":
            self._set(results, TYPES["b64"], 1, item.line)
        elif name == "cudaCGSynchronize":
            self._result.body.append(Instruction(GRID_SYNC, (), item.line, span=item.span))
            self._set(results, TYPES["b32"], 0, item.line)
        elif function is None or not function.body:
            raise UnsupportedInstruction(f"line {item.line}: a call of {name}, which the module does not define")
        elif name in callers:
            raise UnsupportedInstruction(f"line {item.line}: a recursive call of {name}")
        else:
            self._labels += 1
            prefix, end = f"{name}'{self._labels}.", f"'return{self._labels}"
            formal = [p.name for p in [*function.results, *function.parameters]]
            actual = [s.name for s in [*results.items, *arguments.items] if isinstance(s, Symbol)]
            if len(formal) != len(actual):
                raise UnsupportedInstruction(f"line {item.line}: a call of {name} with registers, or a wrong number")
            self.inline(function, prefix, dict(zip(formal, actual, strict=True)), end, (*callers, name))
            self._result.body.append(Label(end))

    def _set(self, results: Group, kind: Type, value: int, line: int) -> None:
        for result in results.items:
            assert isinstance(result, Symbol)
            place = self._slot(result.name, 0, kind)
            self._result.body.append(Instruction(("mov", kind.name), (place, Immediate(value)), line))

    def _parameter(self, item: Instruction, own: set[str]) -> None:
        """A load or store of a call's parameter is a move to or from a register of its own."""
        load = item.parts[0] == "ld"
        if len(item.operands) != 2:
            raise UnsupportedInstruction(f"line {item.line}: {item.name}")
        address, value = (item.operands[1], item.operands[0]) if load else (item.operands[0], item.operands[1])
        if not isinstance(address, Address) or not isinstance(address.base, Symbol):
            raise UnsupportedInstruction(f"line {item.line}: a parameter at a computed address")
        if address.base.name in own:
            self._result.body.append(item)
            return
        kind, modifiers = TYPES.get(item.parts[-1]), item.parts[1:-1]
        if kind is None or modifiers not in (("param",), ("param", "v2"), ("param", "v4")):
            raise UnsupportedInstruction(f"line {item.line}: {item.name}")
        for i, part in enumerate(value.items if isinstance(value, Vector) else (value,)):
            place = self._slot(address.base.name, address.offset + i * kind.bytes, kind)
            operands = (part, place) if load else (place, part)
            self._result.body.append(Instruction(("mov", f"b{kind.bits}"), operands, item.line))

    def _slot(self, name: str, offset: int, kind: Type) -> Register:
        register = f"{name}+{offset}:{kind.bits}"
        self._result.registers[register] = TYPES[f"b{kind.bits}"]
        return Register(register)


@dataclass
class _Scope:
    """What the names of a function are called in the kernel that it becomes a part of."""

    function: Function
    prefix: str
    params: dict[str, str]

    def rename(self, operand: Operand) -> Operand:
        """An operand with the kernel's names."""
        if isinstance(operand, Register):
            return Register(self.prefix + operand.name)
        if isinstance(operand, Not):
            return Not(Register(self.prefix + operand.register.name))
        if isinstance(operand, Symbol):
            return self._symbol(operand)
        if isinstance(operand, Address):
            base = self.rename(operand.base)
            assert isinstance(base, Register | Symbol | Immediate)
            return Address(base, operand.offset)
        if isinstance(operand, Vector):
            return Vector(tuple(map(self.rename, operand.items)))
        if isinstance(operand, Group):
            return Group(tuple(map(self.rename, operand.items)))
        if isinstance(operand, Pair):
            return Pair(self.rename(operand.first), self.rename(operand.second))
        return operand

    def _symbol(self, symbol: Symbol) -> Symbol:
        if symbol.name in self.params:
            return Symbol(self.params[symbol.name])
        labels = (item.name for item in self.function.body if isinstance(item, Label))
        if symbol.name in self.function.variables or (self.prefix and symbol.name in labels):
            return Symbol(self.prefix + symbol.name)
        return symbol
