"""Back-propagation through time: the recurrence, and the gradients of x and the weights, in one call.

Steps are taken in chunks. Within a chunk the threads divide rows and units as in the forward pass; the cotangents of
the chunk's pre-activations stay in the cache. Then all threads meet, and divide the products over the chunk's rows:
those of x by rows, those of the weights by rows of the weights, each summed in the order of the steps.
"""

from __future__ import annotations

from typing import Any

from ..arguments import AFTER, BEFORE, BackPhaseArguments, BackwardArguments, StepArguments
from ..shape import Shape
from .calls import back_phase_at, is_cancelled, phase_at, state_at, step_at, value_at
from .cellcode import CELL
from .emitted import compiled, make_caller
from .gemm import Gemm
from .gradients import make_input_back, make_sums_back, make_weights_back
from .groups import first_multiplied, groups_together, part_start, unit_start
from .memory import clear
from .rows import active, fill_input_tables, fill_table, fill_table_placed, make_states, share
from .steps import barrier_wait, begin_step, close_all, end_step, wait
from .totals import make_sum_totals


def make_backward(shape: Shape, gemm: Gemm) -> None:
    """Define the kernel `backward(run, thread)`, or with another suffix."""
    begin, end, step_back, states = gemm.begin, gemm.end, _make_phase(shape, gemm), make_states(shape)
    input_back, weights_back = make_input_back(shape, gemm), make_weights_back(shape, gemm)
    sums_back = make_sums_back(shape)
    enter, leave, clear_state = states.enter, states.leave, states.clear
    zeros_bytes = shape.columns * shape.vector_bytes

    @compiled("fill_chunk_tables")
    def fill_chunk_tables(
        run: BackwardArguments, tables: int, chunk_bytes: int, count: int, n: int, t: int, before: int, after: int,
        index: int,
    ) -> None:  # fmt: skip
        """Addresses of a step's rows behind `count` others: in x, its gradient, operands, and gradients of inputs."""
        at = tables + 8 * count
        fill_table_placed(at, n, run.x + t * run.x_step, run.x_row, run.order, 0, 1)
        at += chunk_bytes
        fill_table_placed(at, n, run.grad_x + t * run.grad_x_step, run.grad_x_row, run.order, 0, 1)
        for number in range(run.phases):
            phase = phase_at(run.phase_table, number)
            at += chunk_bytes
            if phase.h_columns > 0:
                value = value_at(run.values, phase.operand)
                first = index
                if phase.operand_rows == BEFORE:
                    first = before
                elif phase.operand_rows == AFTER:
                    first = after
                fill_table(at, n, run.history + value.offset + first * value.row, value.row)
        fill_input_tables(at + chunk_bytes, chunk_bytes, n, run.grad_inputs, run.extra_inputs, t, run.order, 0, 1)

    @compiled("backward" + gemm.suffix)
    def backward(run: BackwardArguments, thread: int) -> None:
        steps, batch, threads = run.steps, run.batch, run.row_threads
        i, all_threads = thread % threads, threads * run.unit_threads
        order, sizes, reverse, memory = run.order, run.sizes, run.reverse, run.memory
        step = step_at(run.scratch + thread * run.scratch_size, 0)
        begin_step(run, step, thread)
        barrier_all, arrivals_all = run.barriers + 64 * threads, 0
        chunk_bytes, table_bytes = 8 * max(run.chunk_rows, run.table_rows), 8 * run.table_rows
        chunk_tables = step.scratch
        operand_tables = chunk_tables + 2 * chunk_bytes
        input_tables = operand_tables + run.phases * chunk_bytes
        tables = input_tables + run.extra_inputs * chunk_bytes
        step.operand_rows, out_rows = tables, tables + table_bytes
        step.input_rows, step.table_bytes = tables + 2 * table_bytes, table_bytes
        step.totals = tables + (2 + run.extra_inputs) * table_bytes
        step.nothing = step.totals + run.totals * table_bytes
        step.scratch = step.nothing + zeros_bytes
        step.out_rows = out_rows if run.grad_out != 0 else 0
        step.panels = step.prepared if step.prepared != 0 else step.scratch
        step.parity = 0
        clear(step.nothing, zeros_bytes)
        begin()

        index, s, following, add = run.rows, steps, 0, 0
        n = 0
        if steps > 0:
            n = active(sizes, batch, 0 if reverse != 0 else steps - 1)
        after = run.state_rows - n
        while s > 0:
            count = 0
            if is_cancelled(run) != 0:
                close_all(run, step)
                break
            while s > 0 and (count == 0 or count + n <= run.chunk_rows):
                s -= 1
                t = steps - 1 - s if reverse != 0 else s
                earlier = 0
                if s > 0:
                    earlier = active(sizes, batch, t + 1 if reverse != 0 else t - 1)
                before = after - max(earlier, n)
                index -= n
                mine = share(n, i, threads)
                step.rows, step.before, step.after, step.index = mine, before + i, after + i, index + i
                step.fresh, step.pre, step.descending = i, count + i, s & 1
                fill_chunk_tables(run, chunk_tables, chunk_bytes, count, n, t, before, after, index)
                if run.grad_out != 0:
                    fill_table_placed(out_rows, mine, run.grad_out + t * run.grad_out_step, run.grad_out_row, order, i,
                                      threads)  # fmt: skip
                if run.extra_inputs != 0:
                    fill_input_tables(step.input_rows, table_bytes, mine, run.input_table, run.extra_inputs, t, order,
                                      i, threads)  # fmt: skip
                # A row comes in with the cotangent of its final state, and goes with that of its initial one.
                enter(run, step, memory, 0, step.parity, share(following, i, threads), mine)
                for number in range(run.states):
                    if state_at(run.state_table, number).clears != 0:
                        clear_state(run, step, number, memory, 0, 1 - step.parity, mine)
                for number in range(run.back_phases):
                    back_phase = back_phase_at(run.back_table, number)
                    if back_phase.meets != 0:
                        wait(run, step)
                    step_back(run, back_phase, step)
                if run.closes != 0:
                    wait(run, step)
                step.parity = 1 - step.parity
                leave(run, step, memory, 0, step.parity, share(earlier, i, threads), mine)
                count += n
                after, following, n = before, n, earlier
            arrivals_all = barrier_wait(step, barrier_all, arrivals_all, all_threads)
            if run.grad_x != 0:
                input_back(run, thread, all_threads, chunk_tables + chunk_bytes, count, step)
            for number in range(run.phases if run.matrices != 0 else 0):
                phase = phase_at(run.phase_table, number)
                operands = operand_tables + number * chunk_bytes
                weights_back(run, thread, all_threads, phase, chunk_tables, operands, count, step, add)
            sums_back(run, thread, all_threads, input_tables, chunk_bytes, count)
            add = 1
            arrivals_all = barrier_wait(step, barrier_all, arrivals_all, all_threads)
        end()
        end_step(run, step)


def _make_phase(shape: Shape, gemm: Gemm) -> Any:
    """`step_back(run, phase, step)`: a phase of one step, for the thread's rows and groups of units."""
    vector, lanes, together_most = shape.vector_bytes, shape.lanes, 4 if gemm.together else 1
    multiply, prepare, column_bytes = gemm.multiply, gemm.prepare, gemm.column_bytes
    cell, sum_totals = make_caller(CELL), make_sum_totals(shape)

    @compiled("multiply_back")
    def multiply_back(run: BackwardArguments, phase: BackPhaseArguments, step: StepArguments) -> None:
        """The transposed product, alone or added to a cotangent."""
        n, depth, descending = step.rows, phase.depth, step.descending
        fill_table(step.operand_rows, n, run.pre + step.pre * run.pre_row + phase.place, run.row_threads * run.pre_row)
        rows = prepare(step.operand_rows, n, depth, step.prepared)
        value = value_at(run.values, phase.target)
        row = run.row_threads * value.row
        target = run.memory + value.offset + value.turn * (1 - step.parity) + step.fresh * value.row
        units, groups, parts, span, whole = (
            phase.target_units,
            phase.target_groups,
            phase.parts,
            phase.span,
            phase.whole,
        )
        head, head_depth, part, origin = phase.head, phase.head_depth, depth // parts, 0
        w, w_part, w_column = run.weights + phase.w, column_bytes(span), parts * column_bytes(span)
        base, more = units // groups, units % groups
        first_group = part_start(groups, step.unit_thread, run.unit_threads)
        last_group = part_start(groups, step.unit_thread + 1, run.unit_threads)
        while first_group < last_group:
            together = 1
            if together_most > 1:
                together = groups_together(first_group, last_group, groups, more, n, descending)
            group = last_group - together if descending != 0 else first_group
            u, wide = group * base + min(group, more), base + (1 if group < more else 0)
            if span < whole:
                last_unit = u + (together - 1) * wide
                if u * lanes // head != last_unit * lanes // head:
                    u, together = last_unit if descending != 0 else u, 1
                origin = first_multiplied(u * lanes, head, head_depth, whole, span)
            c = target + u * vector
            start, start_row, start_group = step.nothing, 0, 0
            if phase.adds != 0:
                start, start_row, start_group = c, row, wide * vector
            for number in range(parts):
                multiply(wide, rows, number * part + origin, n, span, w + u * w_column + number * wide * w_part, start,
                         start_row, c, row, together, wide * w_column, start_group, wide * vector)  # fmt: skip
                start, start_row, start_group = c, row, wide * vector
            if descending != 0:
                last_group -= together
            else:
                first_group += together

    @compiled("step_back")
    def step_back(run: BackwardArguments, phase: BackPhaseArguments, step: StepArguments) -> None:
        if phase.total_count > 0:
            sum_totals(run, step, phase.totals, phase.total_count)
        if phase.depth > 0:
            multiply_back(run, phase, step)
        if phase.cell != 0:
            u0 = unit_start(phase.units, phase.groups, step.unit_thread, run.unit_threads)
            u1 = unit_start(phase.units, phase.groups, step.unit_thread + 1, run.unit_threads)
            cell(phase.cell, run, step, 0, step.rows, u0, u1 - u0, 1, 0, 0, 0, 0, 0, 0, 0, phase.width)

    return step_back
