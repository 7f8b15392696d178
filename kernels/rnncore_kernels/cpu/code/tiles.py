"""Register-blocked tiles: the matrix products of all kernels, and the moves of rows that they need.

Activations are rows in memory, found by a table of their addresses. Weights are packed in groups of up to `columns`
vectors side by side: for each k, the vectors of that group. A tile keeps `rows x vectors` accumulators in registers;
each is a sum over k in order, starting from what `start` holds, so its bits depend on nothing but its row and column.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..shape import Shape
from ..vector import ELEMENTS, Vector, fma
from .emitted import call, compiled, emitted
from .ir import I64, loop, pointer, word_pointer

BLOCK_BYTES = 32 * 1024
"""Of packed weights: the block that stays in the first-level cache while all rows pass over it."""


def make_multiply(shape: Shape) -> Any:
    """`multiply(columns, rows, n, depth, w, start, start_row, c, c_row, groups, w_group, start_group, c_group)`.

    C = start + A W for n rows and `groups` groups of `columns` vectors, which may be more than a tile has. `rows` is
    the table of A's rows; `_row` and `_group` are distances in bytes; C may be `start`.
    """
    most, vector_bytes = shape.columns, shape.vector_bytes
    high = [0, *(shape.rows(width) for width in range(1, most + 1))]
    tallest_1, tallest_2, tallest_3, tallest_4 = (high[min(width, most)] for width in (1, 2, 3, 4))
    block_1, block_2, block_3, block_4 = (max(32, BLOCK_BYTES // (width * vector_bytes)) for width in (1, 2, 3, 4))
    tile = _make_tiles(shape)

    @compiled("multiply")
    def multiply(columns, rows, n, depth, w, start, start_row, c, c_row, groups, w_group, start_group, c_group):  # type: ignore[no-untyped-def]
        tiles = (columns + most - 1) // most if columns > most else 1
        first = 0
        for number in range(tiles):
            width = columns
            if tiles > 1:
                width = columns // tiles + (1 if number < columns % tiles else 0)
            tallest, block = tallest_4, block_4
            if width == 1:
                tallest, block = tallest_1, block_1
            elif width == 2:
                tallest, block = tallest_2, block_2
            elif width == 3:
                tallest, block = tallest_3, block_3
            k_bytes = width * vector_bytes
            k = 0
            # A block of weights stays in the cache while all rows pass over it; one tile of rows needs no blocks.
            step = block if n > tallest else depth
            while True:
                here = min(step, depth - k)
                s, s_row, s_group = start + first, start_row, start_group
                if k > 0:
                    s, s_row, s_group = c + first, c_row, c_group
                i = 0
                while i < n:
                    left = n - i
                    height = 4 if left >= 4 else 2 if left >= 2 else 1
                    if left >= tallest and not (tallest == 6 and left == 8):
                        height = tallest
                    g = 0
                    while g < groups:
                        together = 1
                        if height == 1 and groups - g >= 4:
                            together = 4
                        elif height == 2 and groups - g >= 2:
                            together = 2
                        tile(
                            width, height, together, rows + 8 * i, k, here, w + first * depth + k * k_bytes + g * w_group,
                            w_group, s + s_row * i + g * s_group, s_row, s_group,
                            c + first + c_row * i + g * c_group, c_row, c_group,
                        )  # fmt: skip
                        g += together
                    i += height
                k += here
                if k >= depth:
                    break
            first += k_bytes

    return multiply


TILE = ("rows", "k0", "depth", "w", "w_group", "start", "start_row", "start_group", "c", "c_row", "c_group")


def _make_tiles(shape: Shape) -> Any:
    """`tile(width, height, groups, ...)`: the tile of that size."""
    sizes = [
        (width, height, groups)
        for width in range(1, shape.columns + 1)
        for height in sorted({shape.rows(width), 4, 2, 1})
        for groups in sorted({1, {1: 4, 2: 2}.get(height, 1)})
    ]
    tiles = {size: _tile(shape, *size) for size in sizes}

    def body(b: Any, width: Any, height: Any, groups: Any, *arguments: Any) -> None:
        number = b.add(b.mul(width, I64(100)), b.add(b.mul(height, I64(10)), groups))
        done = b.append_basic_block("done")
        switch = b.switch(number, done)
        for size, tile in tiles.items():
            here = b.append_basic_block()
            switch.add_case(I64(100 * size[0] + 10 * size[1] + size[2]), here)
            b.position_at_end(here)
            call(b, tile, arguments)
            b.branch(done)
        b.position_at_end(done)

    return emitted(f"tile_{shape.dtype.name}", ("width", "height", "groups", *TILE), body)


def _tile(shape: Shape, vectors: int, height: int, groups: int) -> Any:
    """C = start + A[:, k0:k0+depth] W for one tile; `w` is where k0's vectors are."""
    size, lanes = shape.vector_bytes, shape.lanes
    element = ELEMENTS[shape.dtype]
    kind = ir.VectorType(element, lanes)

    def load(b: Any, address: Any, offset: int) -> Any:
        return Vector.load(b, shape.target, shape.dtype, pointer(b, address, offset))

    def body(b: Any, *arguments: Any) -> None:
        a = dict(zip(TILE, arguments, strict=True))
        at_k0 = b.mul(a["k0"], I64(shape.itemsize))
        row = [b.add(b.load(word_pointer(b, a["rows"], m)), at_k0) for m in range(height)]
        row = [b.inttoptr(r, element.as_pointer()) for r in row]
        start_at = [
            b.add(a["start"], b.add(b.mul(a["start_group"], I64(g)), b.mul(a["start_row"], I64(m))))
            for g in range(groups)
            for m in range(height)
        ]
        first = [load(b, s, j * size).value for s in start_at for j in range(vectors)]
        panel = [b.inttoptr(b.add(a["w"], b.mul(a["w_group"], I64(g))), kind.as_pointer()) for g in range(groups)]
        before, turn, done = b.block, b.append_basic_block("k"), b.append_basic_block("done")
        b.cbranch(b.icmp_signed(">", a["depth"], I64(0)), turn, done)
        b.position_at_end(turn)
        k = b.phi(I64)
        k.add_incoming(I64(0), before)
        sums = [b.phi(kind) for _ in first]
        for total, value in zip(sums, first, strict=True):
            total.add_incoming(value, before)
        first_w = b.mul(k, I64(vectors))
        weights = [
            [
                Vector.load(b, shape.target, shape.dtype, b.gep(p, [b.add(first_w, I64(j))], source_etype=kind))
                for j in range(vectors)
            ]
            for p in panel
        ]
        splats = []
        for r in row:
            value = b.load(b.gep(r, [k], source_etype=element), align=shape.itemsize, typ=element)
            splats.append(Vector.splat(b, shape.target, value))
        new = []
        for index, total in enumerate(sums):
            tile_row, j = divmod(index, vectors)
            g, m = divmod(tile_row, height)
            new.append(fma(splats[m], weights[g][j], Vector(b, total, shape.target)).value)
        after = b.add(k, I64(1))
        k.add_incoming(after, turn)
        for total, value in zip(sums, new, strict=True):
            total.add_incoming(value, turn)
        b.cbranch(b.icmp_signed("<", after, a["depth"]), turn, done)
        b.position_at_end(done)
        results = []
        for value, updated in zip(first, new, strict=True):
            result = b.phi(kind)
            result.add_incoming(value, before)
            result.add_incoming(updated, turn)
            results.append(result)
        for index, result in enumerate(results):
            tile_row, j = divmod(index, vectors)
            g, m = divmod(tile_row, height)
            address = b.add(a["c"], b.add(b.mul(a["c_group"], I64(g)), b.mul(a["c_row"], I64(m))))
            Vector(b, result, shape.target).store(pointer(b, address, j * size))

    return emitted(f"tile_{shape.dtype.name}_{height}x{vectors}x{groups}", TILE, body)


OUTER = ("depth", "a", "a_row", "b", "c", "c_row", "count", "add")


def make_outer(shape: Shape) -> Any:
    """`outer(width, n, depth, a, a_row, b, c, c_row, count, add)`: C (+)= A^T B over `depth` rows.

    A has n columns, at least `depth` rows at a distance of `a_row`; B is packed rows of `width` vectors, at most
    `columns`. The first `count` elements of each of C's rows are written; added to what is there where `add` is 1.
    """
    most, item = shape.columns, shape.itemsize
    high = [0, *(shape.rows(width) for width in range(1, most + 1))]
    tallest_1, tallest_2, tallest_3, tallest_4 = (high[min(width, most)] for width in (1, 2, 3, 4))
    sizes = [(w, h) for w in range(1, most + 1) for h in sorted({shape.rows(w), 4, 2, 1})]
    tiles = {size: _outer_tile(shape, *size) for size in sizes}

    def body(b: Any, width: Any, height: Any, *arguments: Any) -> None:
        done = b.append_basic_block("done")
        switch = b.switch(b.add(b.mul(width, I64(10)), height), done)
        for (w, h), tile in tiles.items():
            here = b.append_basic_block()
            switch.add_case(I64(10 * w + h), here)
            b.position_at_end(here)
            call(b, tile, arguments)
            b.branch(done)
        b.position_at_end(done)

    tile = emitted(f"outer_tile_{shape.dtype.name}", ("width", "height", *OUTER), body)

    @compiled("outer")
    def outer(width, n, depth, a, a_row, b, c, c_row, count, add):  # type: ignore[no-untyped-def]
        tallest = tallest_4
        if width == 1:
            tallest = tallest_1
        elif width == 2:
            tallest = tallest_2
        elif width == 3:
            tallest = tallest_3
        i = 0
        while i < n:
            left = n - i
            height = 4 if left >= 4 else 2 if left >= 2 else 1
            if left >= tallest and not (tallest == 6 and left == 8):
                height = tallest
            tile(width, height, depth, a + i * item, a_row, b, c + i * c_row, c_row, count, add)
            i += height

    return outer


def _outer_tile(shape: Shape, vectors: int, height: int) -> Any:
    """One tile of `outer`: `height` columns of A by `vectors` vectors of B."""
    size = shape.vector_bytes
    element = ELEMENTS[shape.dtype]
    kind = ir.VectorType(element, shape.lanes)

    def body(b: Any, *arguments: Any) -> None:
        a = dict(zip(OUTER, arguments, strict=True))
        zero = ir.Constant(kind, None)
        before, turn, done = b.block, b.append_basic_block("k"), b.append_basic_block("done")
        b.cbranch(b.icmp_signed(">", a["depth"], I64(0)), turn, done)
        b.position_at_end(turn)
        k = b.phi(I64)
        k.add_incoming(I64(0), before)
        sums = [b.phi(kind) for _ in range(height * vectors)]
        for total in sums:
            total.add_incoming(zero, before)
        at_a, at_b = b.add(a["a"], b.mul(k, a["a_row"])), b.add(a["b"], b.mul(k, I64(vectors * size)))
        right = [Vector.load(b, shape.target, shape.dtype, pointer(b, at_b, j * size)) for j in range(vectors)]
        new = []
        for m in range(height):
            address = b.inttoptr(b.add(at_a, I64(m * shape.itemsize)), element.as_pointer())
            left = Vector.splat(b, shape.target, b.load(address, align=shape.itemsize, typ=element))
            new += [fma(left, right[j], Vector(b, sums[m * vectors + j], shape.target)).value for j in range(vectors)]
        after = b.add(k, I64(1))
        k.add_incoming(after, turn)
        for total, value in zip(sums, new, strict=True):
            total.add_incoming(value, turn)
        b.cbranch(b.icmp_signed("<", after, a["depth"]), turn, done)
        b.position_at_end(done)
        results = []
        for value in new:
            result = b.phi(kind)
            result.add_incoming(zero, before)
            result.add_incoming(value, turn)
            results.append(Vector(b, result, shape.target))
        adding = b.icmp_signed("!=", a["add"], I64(0))
        counts = [_clamped(b, b.sub(a["count"], I64(j * shape.lanes)), shape.lanes) for j in range(vectors)]
        for index, result in enumerate(results):
            m, j = divmod(index, vectors)
            address = pointer(b, b.add(a["c"], b.mul(a["c_row"], I64(m))), j * size)
            there = b.select(adding, counts[j], I64(0))
            old = Vector.load(b, shape.target, shape.dtype, address, there)
            (old + result).store(address, counts[j])

    return emitted(f"outer_{shape.dtype.name}_{height}x{vectors}", OUTER, body)


def _clamped(b: Any, value: Any, high: int) -> Any:
    low = b.select(b.icmp_signed("<", value, I64(0)), I64(0), value)
    return b.select(b.icmp_signed(">", low, I64(high)), I64(high), low)


def make_gather(shape: Shape) -> Any:
    """`gather(rows, n, offset, count, target, vectors)`: pack `count` elements at `offset` bytes of each row.

    The result is n times `vectors` vectors; zeros behind the elements.
    """
    size = shape.vector_bytes

    def body(b: Any, rows: Any, n: Any, offset: Any, count: Any, target: Any, vectors: Any) -> None:
        with loop(b, n) as row, loop(b, vectors) as j:
            source = b.add(b.add(b.load(word_pointer(b, rows, row)), offset), b.mul(j, I64(size)))
            here = _clamped(b, b.sub(count, b.mul(j, I64(shape.lanes))), shape.lanes)
            to = b.add(target, b.mul(b.add(b.mul(row, vectors), j), I64(size)))
            Vector.load(b, shape.target, shape.dtype, pointer(b, source), here).store(pointer(b, to))

    names = ("rows", "n", "offset", "count", "target", "vectors")
    return emitted(f"gather_{shape.dtype.name}", names, body)


def make_scatter(shape: Shape) -> Any:
    """`scatter(rows, n, offset, count, source, vectors)`: the inverse of gather; `count` elements are written."""
    size = shape.vector_bytes

    def body(b: Any, rows: Any, n: Any, offset: Any, count: Any, source: Any, vectors: Any) -> None:
        with loop(b, n) as row, loop(b, vectors) as j:
            to = b.add(b.add(b.load(word_pointer(b, rows, row)), offset), b.mul(j, I64(size)))
            here = _clamped(b, b.sub(count, b.mul(j, I64(shape.lanes))), shape.lanes)
            at = b.add(source, b.mul(b.add(b.mul(row, vectors), j), I64(size)))
            Vector.load(b, shape.target, shape.dtype, pointer(b, at)).store(pointer(b, to), here)

    names = ("rows", "n", "offset", "count", "source", "vectors")
    return emitted(f"scatter_{shape.dtype.name}", names, body)


def make_add(shape: Shape) -> Any:
    """`add(left, right, count, target)`: one vector of `count` elements, zeros behind; an address of 0 is zeros."""

    def body(b: Any, left: Any, right: Any, count: Any, target: Any) -> None:
        values = []
        for address in (left, right):
            there = b.select(b.icmp_signed("!=", address, I64(0)), _clamped(b, count, shape.lanes), I64(0))
            values.append(Vector.load(b, shape.target, shape.dtype, pointer(b, address), there))
        (values[0] + values[1]).store(pointer(b, target))

    return emitted(f"add_{shape.dtype.name}", ("left", "right", "count", "target"), body)


def make_sum_rows(shape: Shape) -> Any:
    """`sum_rows(source, row, n, target, count, add)`: the sum over rows of one vector, `count` elements written."""

    def body(b: Any, source: Any, row: Any, n: Any, target: Any, count: Any, add: Any) -> None:
        kind = ir.VectorType(ELEMENTS[shape.dtype], shape.lanes)
        total = b.alloca(kind)
        b.store(ir.Constant(kind, None), total)
        with loop(b, n) as turn:
            at = pointer(b, b.add(source, b.mul(turn, row)))
            value = Vector.load(b, shape.target, shape.dtype, at)
            b.store((Vector(b, b.load(total), shape.target) + value).value, total)
        adding = b.icmp_signed("!=", add, I64(0))
        counted = _clamped(b, count, shape.lanes)
        to = pointer(b, target)
        old = Vector.load(b, shape.target, shape.dtype, to, b.select(adding, counted, I64(0)))
        (old + Vector(b, b.load(total), shape.target)).store(to, counted)

    names = ("source", "row", "n", "target", "count", "add")
    return emitted(f"sum_rows_{shape.dtype.name}", names, body)


def make_transpose(shape: Shape) -> Any:
    """`transpose(source, row, rows, count, target, target_row)`: a block of at most `lanes` rows and columns.

    `rows` rows of `count` elements are read; `count` rows of `lanes` elements written, zeros where none was read.
    """
    lanes = shape.lanes

    def body(b: Any, source: Any, row: Any, rows: Any, count: Any, target: Any, target_row: Any) -> None:
        values = []
        for r in range(lanes):
            here = b.select(b.icmp_signed("<", I64(r), rows), count, I64(0))
            at = pointer(b, b.add(source, b.mul(row, I64(r))))
            values.append(Vector.load(b, shape.target, shape.dtype, at, here).value)
        width = 1
        while width < lanes:
            # Exchange the off-diagonal quarters of blocks of 2*width: element i of row r and i+width of row r-width.
            low = [i if i & width == 0 else lanes + i - width for i in range(lanes)]
            high = [i + width if i & width == 0 else lanes + i for i in range(lanes)]
            for r in range(lanes):
                if r & width == 0:
                    x, y = values[r], values[r + width]
                    values[r], values[r + width] = (_shuffle(b, x, y, low), _shuffle(b, x, y, high))
            width *= 2
        for r, value in enumerate(values):
            there = b.select(b.icmp_signed("<", I64(r), count), I64(lanes), I64(0))
            at = pointer(b, b.add(target, b.mul(target_row, I64(r))))
            Vector(b, value, shape.target).store(at, there)

    names = ("source", "row", "rows", "count", "target", "target_row")
    return emitted(f"transpose_{shape.dtype.name}", names, body)


def _shuffle(b: Any, x: Any, y: Any, order: list[int]) -> Any:
    index = ir.IntType(32)
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(index, len(order)), [index(i) for i in order]))
