"""Swapping any one operator or constant of a cell's backward equations is found by the gradient check."""

from __future__ import annotations

import ast
import copy
import inspect
from types import ModuleType
from typing import Any

import minimal_gated_unit
import pytest

from rnncore.cells import Cell, CellError, check_gradients
from rnncore_kernels.cells import elman, gru, lstm

ACTIVATIONS = [(name,) for name in elman.STAGES]
VARIANTS = [(update, reset) for reset, update in gru.STAGES]
MODULES: dict[str, tuple[ModuleType, str, list[Any]]] = {
    "elman": (elman, "Elman", ACTIVATIONS),
    "lstm": (lstm, "LSTM", [()]),
    "gru": (gru, "GRU", VARIANTS),
    "minimal_gated_unit": (minimal_gated_unit, "MinimalGatedUnit", [()]),
}
SWAPS: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add}


def sites(tree: ast.AST) -> list[ast.BinOp | ast.Constant]:
    """The operators and constants of the backward functions, indices apart."""
    found: list[ast.BinOp | ast.Constant] = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name.endswith(("backward", "pullback")):
            indices = {id(s.slice) for s in ast.walk(function) if isinstance(s, ast.Subscript)}
            for node in ast.walk(function):
                is_number = isinstance(node, ast.Constant) and isinstance(node.value, int) and id(node) not in indices
                if isinstance(node, ast.BinOp) or is_number:
                    assert isinstance(node, (ast.BinOp, ast.Constant))
                    found.append(node)
    return found


def mutate(tree: ast.Module, site: int) -> tuple[ast.Module, str]:
    """A copy of the module with one site changed, and what was changed."""
    mutated = copy.deepcopy(tree)
    node = sites(mutated)[site]
    before = ast.unparse(node)
    if isinstance(node, ast.BinOp):
        node.op = SWAPS[type(node.op)]()
    else:
        node.value = 2
    return mutated, f"line {node.lineno}: {before} -> {ast.unparse(node)}"


def is_caught(module: ModuleType, tree: ast.Module, kind: str, options: list[Any]) -> bool:
    scope = {"__name__": module.__name__, "__package__": module.__package__}
    exec(compile(tree, "<mutant>", "exec", dont_inherit=True), scope)
    make = scope[kind]
    assert callable(make)
    for arguments in options:
        cell = make(*arguments)
        assert isinstance(cell, Cell)
        try:
            check_gradients(cell)
        except CellError:
            return True
    return False


@pytest.mark.parametrize("name", MODULES)
def test_every_mutant_is_caught(name: str) -> None:
    module, kind, options = MODULES[name]
    tree = ast.parse(inspect.getsource(module))
    assert not is_caught(module, tree, kind, options)
    mutants = [mutate(tree, site) for site in range(len(sites(tree)))]
    assert len(mutants) >= 8
    survivors = [description for mutant, description in mutants if not is_caught(module, mutant, kind, options)]
    assert survivors == []


def test_they_are_many() -> None:
    assert sum(len(sites(ast.parse(inspect.getsource(module)))) for module, _, _ in MODULES.values()) > 80
