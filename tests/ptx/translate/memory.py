"""Loads, stores, atomic operations and fences."""

from __future__ import annotations

from ..runtime import layout as at
from ..syntax import Address, Immediate, Operand, Register, Symbol, Vector
from ..types import Type
from .emitter import I32, I64, Emitter
from .floats import flush
from .modifiers import Modifiers
from .table import opcode

SPACES = {"global": "global", "shared": "shared", "shared::cta": "shared", "local": "local", "const": "global"}
HINTS = frozenset({"ca", "cg", "cs", "lu", "wb", "wt"})
WEAK_FUNCTIONS = {"global": "global", "shared": "shared", "local": "local", "": "generic"}


def _hint(name: str) -> bool:
    """Whether a modifier concerns caches alone."""
    return name in HINTS or (name.startswith(("L1::", "L2::")) and name != "L2::cache_hint")


def _address(e: Emitter, operand: Operand, space: str) -> str:
    """The text of an address; those in shared memory may be of 32 bits."""
    if not isinstance(operand, Address):
        raise e.refuse()
    base = operand.base
    if isinstance(base, Symbol):
        if base.name not in e.symbols:
            raise e.refuse(base.name)
        text = e.symbols[base.name]
    elif isinstance(base, Immediate):
        text = str(base.value)
    elif e.type_of(base).bits == 32 and space in ("shared", "local"):
        return _wide(e, base, operand.offset)
    else:
        text = e.value(base, I64)
    return e.let(f"add i64 {text}, {operand.offset}") if operand.offset else text


def _wide(e: Emitter, base: Register, offset: int) -> str:
    moved = e.let(f"add i32 {e.value(base, I32)}, {offset}")
    return e.let(f"zext i32 {moved} to i64")


def _generic(e: Emitter, operand: Operand, space: str) -> str:
    """The generic address of an operand."""
    text = _address(e, operand, space)
    window = {"shared": at.SHARED_WINDOW, "local": at.LOCAL_WINDOW}.get(space)
    return e.let(f"add i64 {text}, {window}") if window else text


def _items(e: Emitter, m: Modifiers, operand: Operand) -> tuple[Operand, ...]:
    count = {None: 1, "v2": 2, "v4": 4, "v8": 8}[m.take("v2", "v4", "v8")]
    items = operand.items if isinstance(operand, Vector) else (operand,)
    if len(items) != count or (count > 1) != isinstance(operand, Vector):
        raise e.refuse("wrong number of registers")
    return items


def _scope(e: Emitter, m: Modifiers, space: str, default: str | None = None) -> None:
    """Operations have the whole device for their scope, or the block where memory is shared by no more than that."""
    scope = m.take("gpu", "sys", "cta") or default
    if scope is None or (scope == "cta" and space != "shared"):
        raise e.refuse("the scope")


def _pointer(e: Emitter, address: str) -> str:
    return e.let(f"inttoptr i64 {address} to ptr")


def _element(e: Emitter, pointer: str, index: int, kind: Type) -> str:
    return pointer if index == 0 else e.let(f"getelementptr i8, ptr {pointer}, i64 {index * kind.bytes}")


@opcode("ld")
def load(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    d, a = e.operands(2)
    if m.take("param"):
        _load_parameter(e, m, d, a, kind)
        return
    items = _items(e, m, d)
    space = SPACES.get(m.take(*SPACES) or "", "")
    size = kind.bytes * len(items)
    m.drop(_hint)
    order = m.take("weak", "relaxed", "acquire", "volatile")
    non_coherent = m.take("nc")
    if order in (None, "weak"):
        if non_coherent and space != "global":
            raise e.refuse()
        function = "constant" if non_coherent else WEAK_FUNCTIONS[space]
        where = e.runtime(f"load_{function}", _address(e, a, space), size, e.site)
    else:
        if non_coherent:
            raise e.refuse()
        if order != "volatile":
            _scope(e, m, space)
        what = at.READS | (at.ACQUIRES if order == "acquire" else 0)
        where = e.runtime("strong", _generic(e, a, space), size, e.site, what)
    pointer = _pointer(e, where)
    for i, item in enumerate(items):
        bits = e.let(f"load {kind.integer}, ptr {_element(e, pointer, i, kind)}, align 1")
        if order not in (None, "weak") and len(items) == 1:
            wide = bits if kind.bits == 64 else e.let(f"zext {kind.integer} {bits} to i64")
            e.runtime("poll", e.site, wide, 0, result=False)
        e.set_typed(item, e.cast(bits, kind.integer, kind.llvm), kind, wider=True)


def _load_parameter(e: Emitter, m: Modifiers, d: Operand, a: Operand, kind: Type) -> None:
    items = _items(e, m, d)
    if not isinstance(a, Address) or not isinstance(a.base, Symbol) or f"param {a.base.name}" not in e.symbols:
        raise e.refuse("a parameter at a computed address")
    pointer = _pointer(e, e.word(at.T_PARAMETERS))
    for i, item in enumerate(items):
        offset = int(e.symbols[f"param {a.base.name}"]) + a.offset + i * kind.bytes
        place = e.let(f"getelementptr i8, ptr {pointer}, i64 {offset}")
        e.set_typed(item, e.let(f"load {kind.llvm}, ptr {place}, align 1"), kind, wider=True)


@opcode("st")
def store(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    a, b = e.operands(2)
    items = _items(e, m, b)
    space = SPACES.get(m.take("global", "shared", "shared::cta", "local") or "", "")
    size = kind.bytes * len(items)
    m.drop(_hint)
    order = m.take("weak", "relaxed", "release", "volatile")
    values = [e.value(item, kind, wider=kind.kind != "f") for item in items]
    if order in (None, "weak"):
        where = e.runtime(f"store_{WEAK_FUNCTIONS[space]}", _address(e, a, space), size, e.site)
    else:
        if order != "volatile":
            _scope(e, m, space)
        what = at.WRITES | (at.RELEASES if order == "release" else 0)
        where = e.runtime("strong", _generic(e, a, space), size, e.site, what)
    pointer = _pointer(e, where)
    for i, value in enumerate(values):
        e.emit(f"store {kind.llvm} {value}, ptr {_element(e, pointer, i, kind)}, align 1")


ATOMIC_TYPES = {
    "add": ("u32", "s32", "u64", "s64", "f32", "f64"),
    "exch": ("b32", "b64"),
    "cas": ("b32", "b64"),
    "min": ("u32", "s32", "u64", "s64"),
    "max": ("u32", "s32", "u64", "s64"),
    "and": ("b32", "b64"),
    "or": ("b32", "b64"),
    "xor": ("b32", "b64"),
    "inc": ("u32",),
    "dec": ("u32",),
}


@opcode("atom", "red")
def atomic(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    space = SPACES.get(m.take("global", "shared", "shared::cta") or "", "")
    order = m.take("relaxed", "release") if name == "red" else m.take("relaxed", "acquire", "release", "acq_rel")
    _scope(e, m, space, default="gpu")
    operation = m.need(*ATOMIC_TYPES)
    m.drop(_hint)
    if kind.name not in ATOMIC_TYPES[operation] or (name == "red" and operation in ("exch", "cas")):
        raise e.refuse(f"type {kind.name}")
    operands = e.operands((3 if operation == "cas" else 2) + (name == "atom"))
    target = operands[0] if name == "atom" else None
    a, *given = operands[1:] if name == "atom" else operands
    values = [e.value(item, kind) for item in given]
    what = at.READS | at.WRITES | (at.REDUCES if name == "red" else 0)
    if order in ("acquire", "acq_rel"):
        what |= at.ACQUIRES
    if order in ("release", "acq_rel"):
        what |= at.RELEASES
    pointer = _pointer(e, e.runtime("strong", _generic(e, a, space), kind.bytes, e.site, what))
    old = e.let(f"load {kind.llvm}, ptr {pointer}, align 1")
    new = _combine(e, operation, kind, space, old, values)
    e.emit(f"store {kind.llvm} {new}, ptr {pointer}, align 1")
    if target is not None:
        bits_old, bits_new = (e.cast(t, kind.llvm, kind.integer) for t in (old, new))
        wide = bits_old if kind.bits == 64 else e.let(f"zext {kind.integer} {bits_old} to i64")
        changed = e.let(f"zext i1 {e.let(f'icmp ne {kind.integer} {bits_old}, {bits_new}')} to i64")
        e.runtime("poll", e.site, wide, changed, result=False)
        e.set_typed(target, old, kind)


def _combine(e: Emitter, operation: str, kind: Type, space: str, old: str, values: list[str]) -> str:
    """What an atomic operation leaves in memory."""
    t, x = kind.llvm, values[0]
    if operation == "exch":
        return x
    if operation == "cas":
        return e.let(f"select i1 {e.let(f'icmp eq {t} {old}, {x}')}, {t} {values[1]}, {t} {old}")
    if operation == "add" and kind.kind == "f":
        if kind.bits == 32 and space != "shared":
            # In global memory subnormal float32 are zeros.
            return flush(e, e.let(f"fadd float {flush(e, old)}, {flush(e, x)}"))
        return e.let(f"fadd {t} {old}, {x}")
    if operation in ("min", "max"):
        relation = ("s" if kind.kind == "s" else "u") + ("lt" if operation == "min" else "gt")
        return e.let(f"select i1 {e.let(f'icmp {relation} {t} {old}, {x}')}, {t} {old}, {t} {x}")
    if operation == "inc":
        up = e.let(f"add i32 {old}, 1")
        return e.let(f"select i1 {e.let(f'icmp uge i32 {old}, {x}')}, i32 0, i32 {up}")
    if operation == "dec":
        down, zero = e.let(f"sub i32 {old}, 1"), e.let(f"icmp eq i32 {old}, 0")
        wraps = e.let(f"or i1 {zero}, {e.let(f'icmp ugt i32 {old}, {x}')}")
        return e.let(f"select i1 {wraps}, i32 {x}, i32 {down}")
    return e.let(f"{operation} {t} {old}, {x}")


@opcode("fence", "membar")
def fence(e: Emitter, m: Modifiers, name: str) -> None:
    e.operands(0)
    if name == "fence":
        m.take("sc", "acq_rel")
        m.need("gpu", "sys")
    else:
        m.need("gl", "sys")
    e.runtime("fence", result=False)


@opcode("prefetch")
def prefetch(e: Emitter, m: Modifiers, name: str) -> None:
    m.drop(lambda _: True)
