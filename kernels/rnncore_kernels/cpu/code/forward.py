"""The forward pass: all steps of a run in one call, for inference and for training.

Each thread computes some rows and some groups of units at every step; where there are not as many groups for each, two
threads share one by rows. Threads that share rows meet before a phase that reads units of others; threads that do not
never wait for each other.

Every second step goes through the groups backwards. Where weights are larger than the cache, what a step read last is
still there when the next one begins; in the same order again, each part would be gone just before it is needed.
"""

from __future__ import annotations

from ..arguments import ForwardArguments, StepArguments
from ..shape import Shape
from .calls import is_cancelled, phase_at, step_at
from .emitted import compiled
from .gemm import Gemm
from .phases import make_phase, make_projection
from .rows import active, fill_input_tables, fill_table_placed, make_states, share
from .steps import begin_step, close_all, end_step, wait


def make_forward(shape: Shape, gemm: Gemm) -> None:
    """Define the kernel `forward(run, thread)`, or with another suffix."""
    begin, end, prepare = gemm.begin, gemm.end, gemm.prepare
    project, compute = make_projection(shape, gemm), make_phase(shape, gemm)
    states = make_states(shape)
    enter, leave, leave_one, clear_output = states.enter, states.leave, states.leave_one, states.clear_output

    @compiled("project_steps")
    def project_steps(run: ForwardArguments, step: StepArguments, first: int) -> int:
        """The input projection of as many steps from the first on as there is room for; returns the next step."""
        steps, count, s = run.steps, 0, first
        while s < steps:
            t = steps - 1 - s if run.reverse != 0 else s
            n = share(active(run.sizes, run.batch, t), step.thread, run.row_threads)
            if count > 0 and count + n > run.projected_rows:
                break
            fill_table_placed(step.x_rows + 8 * count, n, run.x + t * run.x_step, run.x_row, run.order, step.thread,
                              run.row_threads)  # fmt: skip
            count += n
            s += 1
        rows = prepare(step.x_rows, count, run.inputs, step.prepared)
        for number in range(run.phases):
            phase = phase_at(run.phase_table, number)
            if phase.x_columns > 0:
                project(run, phase, step, rows, count)
        return s

    @compiled("forward" + gemm.suffix)
    def forward(run: ForwardArguments, thread: int) -> None:
        steps, batch, threads, reverse = run.steps, run.batch, run.row_threads, run.reverse
        i, order, sizes, history = thread % run.row_threads, run.order, run.sizes, run.history
        step = step_at(run.scratch + thread * run.scratch_size, 0)
        begin_step(run, step, thread)
        tables, table_bytes = step.scratch, 8 * run.table_rows
        step.operand_rows, step.x_rows, out_rows = tables, tables + table_bytes, tables + 2 * table_bytes
        step.input_rows, step.table_bytes = tables + 3 * table_bytes, table_bytes
        step.totals = tables + (3 + run.extra_inputs) * table_bytes
        step.scratch = step.totals + run.totals * table_bytes
        step.out_rows = out_rows if run.out != 0 else 0
        step.projected, step.uneven = 0, run.uneven
        if run.projected != 0:
            step.projected = run.projected + i * run.projected_size
        begin()

        before, n, before_n, index = 0, 0, 0, 0
        if steps > 0:
            n = active(sizes, batch, steps - 1 if reverse != 0 else 0)
            enter(run, step, history, before, 0, 0, share(n, i, threads))
            wait(run, step)
        projected_steps, projected_rows = 0, 0
        for s in range(steps):
            if is_cancelled(run) != 0:
                close_all(run, step)
                break
            t = steps - 1 - s if reverse != 0 else s
            mine = share(n, i, threads)
            after = ((s + 1) & 1) * batch if run.pair != 0 else before + max(before_n, n)
            step.rows, step.before, step.after, step.index, step.fresh = mine, before + i, after + i, index + i, i
            step.descending = (s + run.turn) & 1
            if step.projected != 0:
                if s == projected_steps:
                    projected_steps, projected_rows = project_steps(run, step, s), 0
                    if step.uneven != 0:
                        # Its pieces are not those of a step.
                        wait(run, step)
                step.projected_row = projected_rows
                projected_rows += mine
            else:
                fill_table_placed(step.x_rows, mine, run.x + t * run.x_step, run.x_row, order, i, threads)
            if run.extra_inputs != 0:
                fill_input_tables(step.input_rows, table_bytes, mine, run.input_table, run.extra_inputs, t, order, i,
                                  threads)  # fmt: skip
            if run.out != 0:
                fill_table_placed(out_rows, mine, run.out + t * run.out_step, run.out_row, order, i, threads)
                clear_output(run, step, run.out + t * run.out_step, run.out_row, mine, share(batch, i, threads))
            for number in range(run.phases):
                phase = phase_at(run.phase_table, number)
                if phase.meets != 0:
                    wait(run, step)
                compute(run, phase, step)
            index += 0 if run.pair != 0 else n

            following = 0
            if s + 1 < steps:
                following = active(sizes, batch, t - 1 if reverse != 0 else t + 1)
            stay = share(following, i, threads)
            first = mine
            if run.last != 0:
                first = share(before_n, i, threads) if reverse != 0 else stay
            if min(stay, first) < mine:
                # Others may have computed some of these rows' units.
                wait(run, step)
            leave(run, step, history, after, 0, stay, mine)
            if first < mine:
                leave_one(run, step, 0, history, after, 0, run.last, run.last_row, first, mine)
            enter(run, step, history, after, 0, mine, stay)
            wait(run, step)
            before, before_n, n = after, n, following
        end()
        end_step(run, step)
