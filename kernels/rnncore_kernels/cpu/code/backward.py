"""Back-propagation through time: the recurrence, and the gradients of x and the weights, in one call.

Steps are taken in chunks. Within a chunk the threads divide rows and units as in the forward pass; the cotangents of
the chunk's pre-activations stay in the cache. Then all threads meet, and divide the products over the chunk's rows:
those of x by rows, those of the weights by rows of the weights, each summed in the order of the steps.
"""

from __future__ import annotations

from typing import Any

from ..fields.balance import PART_BYTES
from ..fields.bf16x3 import BLOCK_BYTES
from ..fields.run import (
    BARRIERS,
    BATCH,
    BF16_ROWS,
    BF16_SIZE,
    BLOCKS,
    CANCEL,
    CHUNK_ROWS,
    GRAD_OUT,
    GRAD_OUT_ROW,
    GRAD_OUT_STEP,
    GRAD_VALUE,
    GRAD_X,
    GRAD_X_ROW,
    GRAD_X_STEP,
    GRADS,
    HIDDEN,
    KEPT,
    KEPT_ROW,
    OPERAND_VALUE,
    OPERANDS,
    ORDER,
    PARTS,
    PRE,
    PRE_ROW,
    REVERSE,
    ROW_THREADS,
    ROWS,
    SCRATCH,
    SCRATCH_SIZE,
    SIZES,
    STAGE_TABLE,
    STAGES,
    STATE_ARRAYS,
    STATE_ROWS,
    STATE_VALUE,
    STATES,
    STEPS,
    UNIT_THREADS,
    UNITS,
    W_H_BACK,
    W_H_BACK_BF16,
    X_ROW,
    X_STEP,
    X,
)
from ..fields.stage import BACKWARD as CELL
from ..fields.stage import COLUMN, GATES, GATES_BEFORE, GRADS_IN, GRADS_OUT, SPLIT, STAGE_BYTES
from ..shape import Shape
from .balance import BALANCE_STEPS, bound, edge, publish, unit_bound, worked
from .bf16x3 import back_blocks, column_bytes
from .cellcode import BACKWARD as CELL_ARGUMENTS
from .emitted import compiled, make_caller
from .gradients import make_input_back, make_weights_back
from .memory import read_word, word
from .multiply import make_multiply
from .rows import (
    active,
    enter,
    fill_table,
    fill_table_placed,
    groups_together,
    leave,
    share,
    unit_offset,
)
from .tile_registers import TileRegisters, make_tile_registers
from .waiting import begin_waiting, meet, open_barrier


def make_backward(shape: Shape) -> None:
    """Define the kernel `backward(args, thread)`; args is the address of the words named in `fields.run`."""
    tile_registers = make_tile_registers(shape)
    configure, release = tile_registers.configure, tile_registers.release
    step_back, input_back = _make_stage(shape, tile_registers), make_input_back(shape, tile_registers)
    weights_back = make_weights_back(shape, tile_registers)
    vector, item, most = shape.vector_bytes, shape.itemsize, shape.columns

    @compiled("backward")
    def backward(args: int, thread: int) -> None:
        steps, batch, units, hidden = word(args, STEPS), word(args, BATCH), word(args, UNITS), word(args, HIDDEN)
        threads, unit_threads = word(args, ROW_THREADS), word(args, UNIT_THREADS)
        i, j, all_threads = thread % threads, thread // threads, threads * unit_threads
        order, sizes, reverse = word(args, ORDER), word(args, SIZES), word(args, REVERSE)
        x, x_step, x_row = word(args, X), word(args, X_STEP), word(args, X_ROW)
        grad_x, grad_x_step, grad_x_row = word(args, GRAD_X), word(args, GRAD_X_STEP), word(args, GRAD_X_ROW)
        grad_out, grad_out_step = word(args, GRAD_OUT), word(args, GRAD_OUT_STEP)
        row_bytes = units * vector
        pre_row, kept_row = word(args, PRE_ROW), word(args, KEPT_ROW)
        stages = word(args, STAGES)
        parts = word(args, PARTS) + i * unit_threads * PART_BYTES
        all_parts = word(args, PARTS) + all_threads * PART_BYTES
        part, all_part = parts + j * PART_BYTES, all_parts + thread * PART_BYTES
        begin_waiting(part)
        barrier, arrivals = word(args, BARRIERS) + 64 * i, 0
        barrier_all, arrivals_all = word(args, BARRIERS) + 64 * threads, 0
        chunk_most = max(word(args, CHUNK_ROWS), batch)
        tables = word(args, SCRATCH) + thread * word(args, SCRATCH_SIZE)
        x_rows, grad_x_rows, operand_rows = tables, tables + 8 * chunk_most, tables + 16 * chunk_most
        out_rows = tables + 8 * (2 + stages) * chunk_most
        scratch = out_rows + 8 * chunk_most
        bf16 = 0
        if word(args, BF16_ROWS) != 0:
            bf16 = word(args, BF16_ROWS) + thread * word(args, BF16_SIZE)
            configure()
        groups = (units + most - 1) // most
        low, high = edge(parts, unit_threads, j), edge(parts, unit_threads, j + 1)
        u0, u1 = unit_bound(units, groups, low), unit_bound(units, groups, high)
        all_low, all_high = edge(all_parts, all_threads, thread), edge(all_parts, all_threads, thread + 1)

        since, turns = worked(part), 0
        row_index, s, following, add = word(args, ROWS), steps, 0, 0
        n = 0
        if steps > 0:
            n = active(sizes, batch, 0 if reverse else steps - 1)
        after = word(args, BLOCKS) + (word(args, STATE_ROWS) - n) * row_bytes
        while s > 0:
            count = 0
            if read_word(args + 8 * CANCEL) != 0:
                open_barrier(barrier)
                open_barrier(barrier_all)
                break
            while s > 0 and (count == 0 or count + n <= word(args, CHUNK_ROWS)):
                if unit_threads > 1 and turns == BALANCE_STEPS:
                    publish(part, high - low, bound(groups, high) - bound(groups, low), worked(part) - since)
                    arrivals = meet(barrier, arrivals, unit_threads, part)
                    low, high = edge(parts, unit_threads, j), edge(parts, unit_threads, j + 1)
                    u0, u1 = unit_bound(units, groups, low), unit_bound(units, groups, high)
                    since, turns = worked(part), 0
                turns += 1
                s -= 1
                t = steps - 1 - s if reverse else s
                earlier = 0
                if s > 0:
                    earlier = active(sizes, batch, t + 1 if reverse else t - 1)
                before = after - max(earlier, n) * row_bytes
                row_index -= n
                mine = share(n, i, threads)
                fill_table_placed(x_rows + 8 * count, n, x + t * x_step, x_row, order, 0, 1)
                fill_table_placed(grad_x_rows + 8 * count, n, grad_x + t * grad_x_step, grad_x_row, order, 0, 1)
                fill_table(operand_rows + 8 * count, n, before, row_bytes)
                for stage in range(stages - 1):
                    operand = word(args, OPERANDS) + stage * word(args, OPERAND_VALUE) + row_index * row_bytes
                    fill_table(operand_rows + 8 * ((stage + 1) * chunk_most + count), n, operand, row_bytes)
                if grad_out != 0:
                    fill_table_placed(out_rows, mine, grad_out + t * grad_out_step, word(args, GRAD_OUT_ROW), order, i,
                                      threads)  # fmt: skip
                # A row comes in with the cotangent of its final state, and goes with that of its initial one.
                enter(word(args, GRADS), row_bytes, word(args, GRAD_VALUE), word(args, STATE_ARRAYS),
                      word(args, STATES), share(following, i, threads), mine, i, threads, order, hidden, u0, u1,
                      vector, item)  # fmt: skip
                for turn in range(stages):
                    arrivals = step_back(
                        args, stages - 1 - turn, i, bound(groups, low), bound(groups, high), mine, before, after,
                        word(args, KEPT) + (row_index + i) * kept_row, word(args, PRE) + (count + i) * pre_row,
                        out_rows if grad_out != 0 else 0, scratch, bf16, barrier, arrivals, part, s & 1,
                    )  # fmt: skip
                for value in range(word(args, STATES)):
                    leave(word(args, GRADS) + value * word(args, GRAD_VALUE), row_bytes,
                          word(word(args, STATE_ARRAYS), value), hidden * item, share(earlier, i, threads), mine, i,
                          threads, order, hidden, u0, u1, vector, item)  # fmt: skip
                count += n
                after, following, n = before, n, earlier
            arrivals_all = meet(barrier_all, arrivals_all, all_threads, part)
            steps_end = worked(part)
            input_back(args, all_low, all_high, grad_x_rows, count, scratch, bf16)
            for number in range(stages):
                stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
                weights_back(args, all_low, all_high, stage, x_rows, operand_rows + 8 * number * chunk_most, count,
                             scratch, bf16, add)  # fmt: skip
            add = 1
            products = worked(part) - steps_end
            publish(all_part, all_high - all_low, all_high - all_low, products)
            arrivals_all = meet(barrier_all, arrivals_all, all_threads, part)
            all_low, all_high = edge(all_parts, all_threads, thread), edge(all_parts, all_threads, thread + 1)
            since += products
        if bf16 != 0:
            release()


def _make_stage(shape: Shape, tile_registers: TileRegisters) -> Any:
    """`step_back(...)`: one stage of one step, for the thread's rows and groups of units.

    With `bf16`, room for rows in three parts, the product is computed on tile registers.
    """
    vector, lanes, most = shape.vector_bytes, shape.lanes, shape.columns
    multiply, multiply_bf16, to_bf16 = make_multiply(shape), tile_registers.multiply, tile_registers.bf16_rows
    cell = make_caller(CELL_ARGUMENTS)

    @compiled("step_back")
    def step_back(
        args: int, number: int, i: int, first_group: int, last_group: int, n: int, before: int, after: int, kept: int,
        pre: int, out_rows: int, scratch: int, bf16: int, barrier: int, arrivals: int, part: int, down: int,
    ) -> int:  # fmt: skip
        stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
        units, hidden, threads = word(args, UNITS), word(args, HIDDEN), word(args, ROW_THREADS)
        row_bytes, value = units * vector, word(args, GRAD_VALUE)
        pre_row, kept_row = word(args, PRE_ROW), word(args, KEPT_ROW)
        row = threads * row_bytes
        grads = word(args, GRADS) + i * row_bytes
        carry_in, carry_out = grads + word(stage, GRADS_IN) * value, grads + word(stage, GRADS_OUT) * value
        groups = (units + most - 1) // most
        for unit in range(unit_offset(first_group, groups, units), unit_offset(last_group, groups, units)):
            at = unit * vector
            cell(word(stage, CELL), n, carry_out + at, value, carry_in + at, value, row,
                 before + i * row_bytes + at, after + i * row_bytes + at, word(args, STATE_VALUE), row,
                 kept + at, threads * kept_row, pre + at, threads * pre_row, row_bytes,
                 out_rows, at, hidden - unit * lanes)  # fmt: skip
        arrivals = meet(barrier, arrivals, word(args, UNIT_THREADS), part)

        # The recurrent product, into the cotangent of the operand.
        fill_table(scratch, n, pre + (word(stage, COLUMN) + word(stage, SPLIT)) * row_bytes, threads * pre_row)
        depth = word(stage, GATES) * units * lanes
        w, w_column = word(args, W_H_BACK) + word(stage, GATES_BEFORE) * units * lanes * units * vector, depth * vector
        if bf16 != 0:
            w_column = column_bytes(depth)
            w = word(args, W_H_BACK_BF16) + units * back_blocks(word(stage, GATES_BEFORE) * units, number) * BLOCK_BYTES
            to_bf16(scratch, n, depth, bf16)
        base, more = units // groups, units % groups
        while first_group < last_group:
            together = groups_together(first_group, last_group, groups, more, n, down) if bf16 == 0 else 1
            group = last_group - together if down != 0 else first_group
            u, wide = group * base + min(group, more), base + (1 if group < more else 0)
            c = carry_in + u * vector
            if bf16 != 0:
                multiply_bf16(wide, bf16, n, depth, w + u * w_column, c, row, c, row)
            else:
                multiply(wide, scratch, n, depth, w + u * w_column, c, row, c, row, together, wide * w_column,
                         wide * vector, wide * vector)  # fmt: skip
            if down != 0:
                last_group -= together
            else:
                first_group += together
        return arrivals

    return step_back
