"""The arguments of kernels: sizes, distances in bytes, and addresses, 0 for none.

The host fills them in, `run.batch = 3`, and compiled Python reads them by the same names: a parameter that is annotated
with one of these classes is the address of such a structure, and `run.batch` a load.
"""

from __future__ import annotations

import ctypes
from typing import ClassVar, TypeAlias, TypeVar

from ..alignment import round_up

SomeArguments = TypeVar("SomeArguments", bound="Arguments")

CLASSES: dict[str, type[Arguments]] = {}
"""Classes of arguments by name, as annotations have it."""


class Arguments(ctypes.Structure):
    """A structure of int64, by name.

    Attributes:
        names: of all fields, in their order.
    """

    names: ClassVar[tuple[str, ...]] = ()
    __slots__ = ()

    def __init__(self, **values: int) -> None:
        super().__init__(**values)

    def copy(self: SomeArguments) -> SomeArguments:
        """A structure of one's own with the same values."""
        return type(self).from_buffer_copy(self)

    @property
    def address(self) -> int:
        """Where it is, for as long as somebody refers to it."""
        return ctypes.addressof(self)


Line: TypeAlias = int
"""The annotation of a field that has a cache line of its own, as one thread waits for it and another writes it."""


def structure(cls: type[SomeArguments]) -> type[SomeArguments]:
    """Decorator: the annotations of a class are its fields, behind those of its base."""
    own: list[str] = []
    for name, kind in cls.__annotations__.items():
        if name != "names":
            own += [name, *(f"{name}_rest_{k}" for k in range(1, 8 if kind == "Line" else 1))]
    cls._fields_ = [(name, ctypes.c_int64) for name in own]
    cls.names = (*cls.names, *own)
    CLASSES[cls.__name__] = cls
    return cls


def size_of(cls: type[Arguments]) -> int:
    """Bytes of a structure."""
    return 8 * len(cls.names)


BEFORE, AFTER, INDEX = range(3)
"""Which of a thread's rows a product multiplies: of a state before the step or after it, or of a value kept for all."""

OVER_ROWS, OVER_UNITS, NOT_AT_ALL = range(3)
"""How cotangents are summed."""


@structure
class PackArguments(Arguments):
    """Arguments of the kernels that pack weights, and of those that split packed weights for tile registers."""

    __slots__ = ()
    inputs: int
    threads: int
    phases: int
    phase_table: int  # PhaseArguments of each phase of the forward pass
    columns: int  # ColumnArguments of each column of these
    matrices: int  # MatrixArguments of the caller's weights
    packed: int
    scratch: int  # for each thread, a table of addresses
    scratch_size: int
    converted: int  # packed weights for other products
    converted_table: int  # PhaseArguments, with their offsets there


@structure
class MatrixArguments(Arguments):
    """A matrix of weights and its biases, or their gradients; 0 where there are none.

    The first is W_ih, then come W_hh, those of projections, and second ones of gates that are multiplied twice.
    """

    __slots__ = ()
    weight: int
    row: int  # distance of rows
    bias: int


@structure
class ColumnArguments(Arguments):
    """A column of a phase: its rows of W_ih, and of the matrix that its operand is multiplied with."""

    __slots__ = ()
    x_row: int  # its first row of W_ih, or -1
    matrix: int  # number of the other matrix, or -1
    h_row: int  # its first row there


@structure
class PhaseArguments(Arguments):
    """A phase of the forward pass, see `program.Phase`, and the products of its columns in the backward pass.

    Its columns are x parts that the code reads, then blocks that x and the operand fill together, then others of the
    operand. Addresses of weights are offsets in the packed ones.
    """

    __slots__ = ()
    columns: int
    split: int  # x parts
    x_columns: int  # those that x fills, from the first on
    h_columns: int  # those that the operand fills, up to the last
    first_column: int  # among those of all phases
    width: int  # units, in elements and in vectors
    units: int
    groups: int  # of units, that share a tile; as even as can be
    w_x: int
    w_h: int
    bias: int
    w_h_back: int
    w_x_back: int
    operand: int  # number of the value that is multiplied
    operand_rows: int  # BEFORE, AFTER or INDEX
    depth: int  # its width
    depth_units: int
    head: int  # units of a head, and
    head_depth: int  # elements of the operand that these multiply: all where there are no heads
    span: int  # elements of the operand that a group of units multiplies
    back_span: int  # units of a column that a group of the transposed product multiplies
    meets: int  # whether threads that share rows meet first
    projected: int  # offset in rows of the input projection of all phases
    totals: int  # sums over units that are computed first: TotalArguments of each
    total_count: int
    cell: int  # address of the function, see `code.cellcode`
    place: int  # offset of the columns in a row of cotangents


@structure
class BackPhaseArguments(Arguments):
    """A phase of the backward pass: a transposed product, then code."""

    __slots__ = ()
    width: int  # units that the code computes
    units: int
    groups: int
    place: int  # offset of what is multiplied in a row of cotangents
    depth: int  # of the product; 0 for none
    parts: int  # of equal depth, that are multiplied one after the other
    span: int  # elements of a part that a group of the result multiplies
    whole: int  # those that all groups together multiply
    head: int  # elements of the result in a head, and
    head_depth: int  # elements of a part that these multiply
    w: int
    target: int  # number of the value that the product is, or is added to
    target_units: int
    target_groups: int
    adds: int
    meets: int
    totals: int
    total_count: int
    cell: int  # 0 for none


@structure
class TotalArguments(Arguments):
    """A sum over the units of a value."""

    __slots__ = ()
    value: int  # its number
    width: int
    index: int  # number of the sum
    kept: int  # number of the value that keeps it for the backward pass, or -1


@structure
class ValueArguments(Arguments):
    """Where rows of a value are, in the memory that its kind of values is in."""

    __slots__ = ()
    offset: int
    row: int  # distance of rows
    turn: int  # distance of what odd steps read and even ones write, and the reverse


@structure
class InputArguments(Arguments):
    """An input of the call beside x, or its gradient."""

    __slots__ = ()
    base: int
    step: int
    row: int


@structure
class StateArguments(Arguments):
    """A state, or its cotangent."""

    __slots__ = ()
    value: int  # its number
    width: int
    units: int
    groups: int
    clears: int  # in the backward pass, whether its cotangent before the step is 0 at first


@structure
class SumArguments(Arguments):
    """A cotangent whose sum is a gradient: over rows, or over units, or not at all."""

    __slots__ = ()
    kind: int  # OVER_ROWS, OVER_UNITS or NONE
    place: int  # offset in a row of cotangents
    width: int
    units: int
    target: int  # address; the number of the input if the sum is not over rows


@structure
class StepArguments(Arguments):
    """A thread of a call at a step: where its first row is among all rows, and its tables of addresses."""

    __slots__ = ()
    thread: int  # among those that divide rows
    unit_thread: int
    barrier: int  # of the threads that share rows
    arrivals: int
    awake: int  # cycles that it waited awake for others in this call
    sleeps: int  # how often it fell asleep
    rows: int  # of the thread
    before: int  # numbers of its first row: among the states before the step
    after: int  # after it
    index: int  # of what is kept for all steps
    fresh: int  # of what is kept for one step
    pre: int  # of cotangents
    parity: int
    descending: int  # whether groups are taken in the reverse order
    uneven: int  # whether groups are divided by rows
    operand_rows: int
    x_rows: int
    out_rows: int  # 0 where nobody wants the output
    input_rows: int  # of all inputs, one table after the other
    totals: int  # sums over units of each row, one table after the other
    table_bytes: int
    projected: int
    projected_row: int
    prepared: int  # rows as tile registers multiply them
    nothing: int  # zeros, as many vectors as a tile has columns
    panels: int  # see `gradients`
    scratch: int


STEP_BYTES = round_up(size_of(StepArguments))
"""Room for these in front of a thread's tables, which begin at a cache line, as do the rows behind them."""


@structure
class RunArguments(Arguments):
    """Common to the kernels `forward` and `backward`."""

    __slots__ = ()
    steps: int
    batch: int
    inputs: int
    reverse: int
    row_threads: int  # thread = row thread + row_threads * unit thread
    unit_threads: int
    barriers: int  # a cache line for each row thread, then one for all, zero at the start
    awake: int  # cycles that its threads waited awake for one another, all together
    order: int  # of Rows
    sizes: int
    x: int
    x_step: int
    x_row: int
    state_arrays: int  # table of addresses: each state, (batch, width)
    states: int
    state_table: int  # StateArguments of each
    extra_inputs: int  # number of inputs beside x
    input_table: int  # InputArguments of each: those of a number a row, then those with units
    grad_inputs: int  # the same of their gradients
    phases: int
    phase_table: int
    values: int  # ValueArguments of each, by number
    memory: int  # of the call
    history: int  # of states, operands and saved values
    packed: int  # weights
    weights: int  # those of products, which may be others on tile registers
    scratch: int  # for each thread: StepArguments, tables of addresses, then rows
    scratch_size: int
    table_rows: int  # rows that the tables of addresses have room for: they fill cache lines
    totals: int  # number of sums over units
    prepared: int  # for each thread: rows as tile registers multiply them
    prepared_size: int
    cancel: int  # not 0 when nobody wants the results any more: the kernel returns within a chunk of steps


@structure
class ForwardArguments(RunArguments):
    """Arguments of the kernel `forward`."""

    __slots__ = ()
    out: int  # (T, B, width of the first state)
    out_step: int
    out_row: int
    last: int  # (B, width)
    last_row: int
    pair: int  # whether states are kept for two steps only, or for all
    uneven: int  # whether groups are divided by rows, too
    projected: int  # for each row thread, W_ih x + bias: groups of columns one after the other; 0 if not apart
    projected_rows: int  # of that many rows
    projected_size: int  # in that many bytes
    turn: int  # number of the first step, for the order in which weights are read


@structure
class BackwardArguments(RunArguments):
    """Arguments of the kernel `backward`."""

    __slots__ = ()
    back_phases: int
    back_table: int
    closes: int  # whether threads that share rows meet at the end of a step
    grad_out: int  # (T, B, width of the first state)
    grad_out_step: int
    grad_out_row: int
    pre: int  # cotangents of the steps that make at most `chunk_rows` rows, or of one step
    pre_row: int
    chunk_rows: int
    rows: int  # of all steps together
    state_rows: int
    grad_x: int  # 0 where nobody needs it
    grad_x_step: int
    grad_x_row: int
    columns: int  # ColumnArguments of each column of the forward pass
    matrices: int  # MatrixArguments of gradients; 0 where nobody needs them
    sums: int
    sum_table: int  # SumArguments of each
