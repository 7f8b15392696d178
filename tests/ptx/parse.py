"""From the text of a PTX module to its functions, as lists of instructions with their operands."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import replace

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
    Special,
    Symbol,
    Variable,
    Vector,
)
from .tokens import Cursor
from .types import TYPES, Type

_LINKING = frozenset({".visible", ".extern", ".weak", ".common"})
_SPACES = frozenset({".global", ".const", ".shared", ".local", ".param"})


def parse(text: str) -> Module:
    """The functions and variables of a PTX module.

    Raises:
        UnsupportedInstruction: for what is not understood.
    """
    return _Parser(text).module()


class _Parser(Cursor):
    """Reads one construct after the other."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        # Names of registers and of labels in the scopes around the cursor, and what each is called in the function.
        self._scopes: list[dict[str, str]] = [{}]
        self._labels: list[dict[str, str]] = [{}]
        self._renamed = 0

    def module(self) -> Module:
        module = Module()
        while self.peek():
            while self.peek() in _LINKING:
                self.next()
            word = self.peek()
            if word in (".entry", ".func"):
                self.next()
                function = self._function(word == ".entry")
                # A declaration does not replace the definition.
                if function.body or function.name not in module.functions:
                    module.functions[function.name] = function
            elif word in (".global", ".const", ".shared"):
                for variable in self._variables(self.next()):
                    module.variables[variable.name] = variable
            else:
                raise self.unknown(word)
        return module

    def _function(self, entry: bool) -> Function:
        results = self._parameters() if self.peek() == "(" else []
        function = Function(self.next(), entry, results=results)
        if self.peek() == "(":
            function.parameters = self._parameters()
        while self.peek() not in ("{", ";"):
            directive = self.next()
            if directive in (".maxntid", ".reqntid"):
                function.max_threads = self.integer(self.next())
                while self.peek() == ",":
                    self.next()
                    function.max_threads *= self.integer(self.next())
            elif directive in (".minnctapersm", ".maxnreg"):
                self.next()
            elif directive != ".noreturn":
                raise self.unknown(directive)
        if self.next() == "{":
            self._scopes, self._labels = [{}], [{}]
            self._body(function)
        return function

    def _parameters(self) -> list[Variable]:
        self.expect("(")
        found = []
        while self.peek() != ")":
            self.expect(".param")
            found.append(self._declarator("param", *self._declared_type()))
            if self.peek() == ",":
                self.next()
        self.next()
        return found

    def _body(self, function: Function) -> None:
        branches: list[tuple[int, list[dict[str, str]]]] = []
        labels: set[str] = set()
        depth = 1
        while depth:
            word = self.peek()
            if word == "{":
                self.next()
                self._scopes.append({})
                self._labels.append({})
                depth += 1
            elif word == "}":
                self.next()
                self._scopes.pop()
                self._labels.pop()
                depth -= 1
            elif word == ".reg":
                self._registers(function)
            elif word in _SPACES:
                for variable in self._variables(self.next()):
                    function.variables[variable.name] = variable
            elif word == ".pragma":
                while self.next() != ";":
                    pass
            elif self.peek(1) == ":":
                unique = self._unique(word, labels)
                labels.add(unique)
                self._labels[-1][word] = unique
                function.body.append(Label(unique))
                self.skip(2)
            elif word and word[0] != ".":
                instruction = self._instruction()
                if instruction.parts[0] == "bra":
                    branches.append((len(function.body), list(self._labels)))
                function.body.append(instruction)
            else:
                raise self.unknown(word)
        for at, scopes in branches:
            function.body[at] = _resolve(function.body[at], scopes)

    def _unique(self, name: str, taken: Container[str]) -> str:
        """A name of its own for what an inner scope calls as an outer one does."""
        if name not in taken:
            return name
        self._renamed += 1
        return f"{name}'{self._renamed}"

    def _registers(self, function: Function) -> None:
        self.next()
        kind = self._type(self.next())
        while True:
            name = self.next()
            if self.peek() == "<":
                self.next()
                count = self.integer(self.next())
                self.expect(">")
                names = [f"{name}{i}" for i in range(count)]
            else:
                names = [name]
            for each in names:
                unique = self._unique(each, function.registers)
                self._scopes[-1][each] = unique
                function.registers[unique] = kind
            if self.next() == ";":
                return

    def _variables(self, space: str) -> Iterator[Variable]:
        kind, align = self._declared_type()
        while True:
            variable = self._declarator(space[1:], kind, align)
            if self.peek() == "=":
                self.next()
                variable = Variable(variable.name, variable.space, kind, variable.count, align, self._values())
            yield variable
            separator = self.next()
            if separator == ";":
                return
            if separator != ",":
                raise self.unknown(separator)

    def _declared_type(self) -> tuple[Type, int]:
        align = 0
        while True:
            word = self.next()
            if word == ".align":
                align = self.integer(self.next())
            elif word == ".attribute":
                raise self.unknown(word)
            else:
                kind = self._type(word)
                break
        while self.peek() in (".ptr", ".global", ".shared", ".const", ".local", ".align"):
            # What a pointer points to, of a parameter.
            if self.next() == ".align":
                self.next()
        return kind, align or kind.bytes

    def _declarator(self, space: str, kind: Type, align: int) -> Variable:
        name, count = self.next(), 1
        while self.peek() == "[":
            self.next()
            count *= 0 if self.peek() == "]" else self.integer(self.next())
            self.expect("]")
        return Variable(name, space, kind, count, align)

    def _values(self) -> tuple[int, ...]:
        if self.peek() != "{":
            return (self.number(self.next()).value,)
        self.next()
        values: list[int] = []
        while self.peek() != "}":
            values += self._values()
            if self.peek() == ",":
                self.next()
        self.next()
        return tuple(values)

    def _instruction(self) -> Instruction:
        line, start, predicate = self.line, self.position, None
        if self.peek()[0] == "@":
            word = self.next()[1:]
            operand = self._word(word)
            assert isinstance(operand, Register | Not)
            predicate = operand
        parts = self.next().split(".")
        operands: list[Operand] = []
        while self.peek() != ";":
            operands.append(self._operand())
            if self.peek() == ",":
                self.next()
            elif self.peek() != ";":
                raise self.unknown(self.peek())
        span = start, self.position + 1
        self.next()
        return Instruction(tuple(parts), tuple(operands), line, predicate, span)

    def _operand(self) -> Operand:
        word = self.peek()
        if word in ("{", "("):
            self.next()
            items = []
            while self.peek() != {"{": "}", "(": ")"}[word]:
                items.append(self._operand())
                if self.peek() == ",":
                    self.next()
            self.next()
            return Vector(tuple(items)) if word == "{" else Group(tuple(items))
        if word == "[":
            self.next()
            base, offset = self._word(self.next()), 0
            if self.peek() == "+":
                self.next()
            if self.peek() != "]":
                offset = self.integer(self.next())
            self.expect("]")
            if not isinstance(base, Register | Symbol | Immediate):
                raise self.unknown(word)
            return Address(base, offset)
        first = self._word(self.next())
        if self.peek() == "|":
            self.next()
            return Pair(first, self._word(self.next()))
        return first

    def _word(self, word: str) -> Operand:
        if word[0] == "!":
            operand = self._word(word[1:])
            if not isinstance(operand, Register):
                raise self.unknown(word)
            return Not(operand)
        for scope in reversed(self._scopes):
            if word in scope:
                return Register(scope[word])
        if word[0] == "%":
            return Special(word)
        if word[0] == "-" or word[0].isdigit():
            return self.number(word)
        if word == "WARP_SZ":
            return Immediate(32)
        if re.fullmatch(r"[A-Za-z_$][\w$]*", word):
            return Symbol(word)
        raise self.unknown(word)

    def _type(self, word: str) -> Type:
        kind = TYPES.get(word[1:]) if word[0] == "." else None
        if kind is None:
            raise self.unknown(word)
        return kind


def _resolve(branch: Instruction | Label, scopes: list[dict[str, str]]) -> Instruction:
    """A branch to the label of the innermost scope around it that has one of that name."""
    assert isinstance(branch, Instruction)
    (target,) = branch.operands
    assert isinstance(target, Symbol)
    for scope in reversed(scopes):
        if target.name in scope:
            return replace(branch, operands=(Symbol(scope[target.name]),))
    raise UnsupportedInstruction(f"line {branch.line}: no label {target.name}")
