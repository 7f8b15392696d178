"""The forward pass: all steps of a run in one call, for inference and for training.

Each thread computes some rows and some groups of hidden units at every step; where there are not as many groups for
each, two threads share one by rows. Threads that share rows meet after each stage, since the next product needs all
units; threads that do not never wait for each other.

Every second step goes through the groups backwards. Where weights are larger than the cache, what a step read last is
still there when the next one begins; in the same order again, each part would be gone just before it is needed.
"""

from __future__ import annotations

from ..fields.balance import PART_BYTES
from ..fields.run import (
    BARRIERS,
    BATCH,
    BF16_ROWS,
    BF16_SIZE,
    BLOCKS,
    CANCEL,
    HIDDEN,
    INPUT,
    LAST,
    LAST_ROW,
    ORDER,
    OUT,
    OUT_ROW,
    OUT_STEP,
    PAIR,
    PARTS,
    PROJECTED,
    PROJECTED_ROWS,
    PROJECTED_SIZE,
    REVERSE,
    ROW_THREADS,
    SCRATCH,
    SCRATCH_ROWS,
    SCRATCH_SIZE,
    SIZES,
    STAGE_TABLE,
    STAGES,
    STATE_ARRAYS,
    STATE_VALUE,
    STATES,
    STEPS,
    TURN,
    UNIT_THREADS,
    UNITS,
    X_ROW,
    X_STEP,
    X,
)
from ..fields.stage import GATES, STAGE_BYTES
from ..shape import Shape
from .balance import BALANCE_STEPS, bound, edge, pieces, publish, unit_bound, worked
from .emitted import compiled
from .memory import read_word, word
from .rows import (
    active,
    clear_output,
    enter,
    fill_table_placed,
    leave,
    make_most_per_group,
    share,
)
from .stages import make_projection, make_stage
from .tile_registers import make_tile_registers
from .waiting import begin_waiting, meet, open_barrier


def make_forward(shape: Shape) -> None:
    """Define the kernel `forward(args, thread)`; args is the address of the words named in `fields.run`."""
    tile_registers = make_tile_registers(shape)
    configure, release, to_bf16 = tile_registers.configure, tile_registers.release, tile_registers.bf16_rows
    project, compute = make_projection(shape, tile_registers), make_stage(shape, tile_registers)
    vector, item, most_per_group = shape.vector_bytes, shape.itemsize, make_most_per_group(shape)

    @compiled("bring")
    def bring(args: int, block: int, first: int, last: int, i: int, u0: int, u1: int) -> None:
        """Initial states of the thread's rows from first to last, into the states before a step."""
        enter(
            block, word(args, UNITS) * vector, word(args, STATE_VALUE), word(args, STATE_ARRAYS), word(args, STATES),
            first, last, i, word(args, ROW_THREADS), word(args, ORDER), word(args, HIDDEN), u0, u1, vector, item,
        )  # fmt: skip

    @compiled("take")
    def take(
        args: int, values: int, target: int, target_row: int, first: int, last: int, i: int, u0: int, u1: int
    ) -> None:
        """The thread's rows from first to last of a state after a step."""
        leave(
            values, word(args, UNITS) * vector, target, target_row, first, last, i, word(args, ROW_THREADS),
            word(args, ORDER), word(args, HIDDEN), u0, u1, vector, item,
        )  # fmt: skip

    @compiled("forward")
    def forward(args: int, thread: int) -> None:
        steps, batch, units, hidden = word(args, STEPS), word(args, BATCH), word(args, UNITS), word(args, HIDDEN)
        threads, unit_threads = word(args, ROW_THREADS), word(args, UNIT_THREADS)
        i, j = thread % threads, thread // threads
        order, sizes, reverse = word(args, ORDER), word(args, SIZES), word(args, REVERSE)
        x, x_step, x_row = word(args, X), word(args, X_STEP), word(args, X_ROW)
        out, out_step, out_row = word(args, OUT), word(args, OUT_STEP), word(args, OUT_ROW)
        pair, row_bytes = word(args, PAIR), units * vector
        barrier, arrivals = word(args, BARRIERS) + 64 * i, 0
        tables = word(args, SCRATCH) + thread * word(args, SCRATCH_SIZE)
        table_bytes = 8 * word(args, SCRATCH_ROWS)
        operand_rows, x_rows, out_rows = tables, tables + table_bytes, tables + 2 * table_bytes
        scratch = tables + 3 * table_bytes
        bf16 = 0
        if word(args, BF16_ROWS) != 0:
            bf16 = word(args, BF16_ROWS) + thread * word(args, BF16_SIZE)
            configure()
        separate = word(args, PROJECTED) != 0
        projected = word(args, PROJECTED) + i * word(args, PROJECTED_SIZE)
        stages = word(args, STAGES)
        most_units = most_per_group(word(word(args, STAGE_TABLE) + (stages - 1) * STAGE_BYTES, GATES))
        groups = (units + most_units - 1) // most_units
        parts = word(args, PARTS) + i * unit_threads * PART_BYTES
        part = parts + j * PART_BYTES
        begin_waiting(part)
        low, high = edge(parts, unit_threads, j), edge(parts, unit_threads, j + 1)
        u0, u1 = unit_bound(units, groups, low), unit_bound(units, groups, high)

        blocks = word(args, BLOCKS)
        before, n, before_n = blocks, 0, 0
        if steps > 0:
            n = active(sizes, batch, steps - 1 if reverse else 0)
            bring(args, before, 0, share(n, i, threads), i, u0, u1)
            arrivals = meet(barrier, arrivals, unit_threads, part)
        projected_steps, projected_taken, row_index = 0, 0, 0
        # Rows on tile registers are not divided: they come in tiles.
        uneven = groups % unit_threads if bf16 == 0 else 0
        since = worked(part)
        for s in range(steps):
            if read_word(args + 8 * CANCEL) != 0:
                open_barrier(barrier)
                break
            t = steps - 1 - s if reverse else s
            mine = share(n, i, threads)
            after = blocks + ((s + 1) & 1) * batch * row_bytes if pair else before + max(before_n, n) * row_bytes
            projected_row = 0
            if separate:
                if s == projected_steps:
                    # The input projection of as many steps as there is room for. Its pieces are not those of a step,
                    # and its time is not measured.
                    count, projected_taken, since = 0, 0, since - worked(part)
                    while projected_steps < steps:
                        t_there = steps - 1 - projected_steps if reverse else projected_steps
                        there = share(active(sizes, batch, t_there), i, threads)
                        if count > 0 and count + there > word(args, PROJECTED_ROWS):
                            break
                        table = x_rows + 8 * count
                        fill_table_placed(table, there, x + t_there * x_step, x_row, order, i, threads)
                        count += there
                        projected_steps += 1
                    if bf16 != 0:
                        to_bf16(x_rows, count, word(args, INPUT), bf16)
                    for number in range(stages):
                        stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
                        project(args, stage, x_rows, count, projected, low, high, uneven, bf16)
                    since += worked(part)
                    if uneven != 0:
                        arrivals = meet(barrier, arrivals, unit_threads, part)
                projected_row = projected_taken
                projected_taken += mine
            else:
                fill_table_placed(x_rows, mine, x + t * x_step, x_row, order, i, threads)
            if out != 0:
                fill_table_placed(out_rows, mine, out + t * out_step, out_row, order, i, threads)
                clear_output(out + t * out_step, out_row, mine, share(batch, i, threads), order, i, threads,
                             u0, u1, hidden, vector, item)  # fmt: skip
            for number in range(stages):
                compute(args, number, i, low, high, mine, row_index, x_rows, projected if separate else 0,
                        projected_row, before, after, operand_rows, out_rows if out != 0 else 0, scratch,
                        (s + word(args, TURN)) & 1, uneven, bf16)  # fmt: skip
                if number < stages - 1:
                    arrivals = meet(barrier, arrivals, unit_threads, part)
            row_index += 0 if pair else n

            following = 0
            if s + 1 < steps:
                following = active(sizes, batch, t - 1 if reverse else t + 1)
            stay = share(following, i, threads)
            first = mine
            if word(args, LAST) != 0:
                first = share(before_n, i, threads) if reverse else stay
            if uneven != 0 and min(stay, first) < mine:
                # Others may have computed some of these rows' units.
                arrivals = meet(barrier, arrivals, unit_threads, part)
            for value in range(word(args, STATES)):
                state, values = word(word(args, STATE_ARRAYS), value), after + value * word(args, STATE_VALUE)
                take(args, values, state, hidden * item, stay, mine, i, u0, u1)
            if first < mine:
                take(args, after, word(args, LAST), word(args, LAST_ROW), first, mine, i, u0, u1)
            bring(args, after, mine, stay, i, u0, u1)
            divides_anew = unit_threads > 1 and (s + 1) % BALANCE_STEPS == 0
            if divides_anew:
                all_pieces = groups * pieces(mine, uneven)
                publish(part, high - low, bound(all_pieces, high) - bound(all_pieces, low), worked(part) - since)
            arrivals = meet(barrier, arrivals, unit_threads, part)
            if divides_anew:
                low, high = edge(parts, unit_threads, j), edge(parts, unit_threads, j + 1)
                u0, u1 = unit_bound(units, groups, low), unit_bound(units, groups, high)
                since = worked(part)
            before, before_n, n = after, n, following
        if bf16 != 0:
            release()
