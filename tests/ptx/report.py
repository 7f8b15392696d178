"""What went wrong, in words."""

from __future__ import annotations

from collections.abc import Sequence

from . import errors
from .launch import Launch
from .runtime import layout as at
from .translate import Translation

_KINDS: dict[int, tuple[type[errors.ExecutionError], str]] = {
    at.OUT_OF_BOUNDS: (errors.OutOfBounds, "{other} bytes at {address}, which lie in no memory of the kernel"),
    at.MISALIGNED: (errors.Misaligned, "{other} bytes at {address}, which is not a multiple of their size"),
    at.READ_ONLY: (errors.ReadOnly, "writes to {address}, in an array that is not writeable"),
    at.WRITTEN_NON_COHERENT: (
        errors.ReadOnly,
        "{address} is written in this launch and read by a non-coherent load ({stamp})",
    ),
    at.UNINITIALISED_MEMORY: (errors.Uninitialised, "reads {address}, which nobody has written"),
    at.UNINITIALISED_REGISTER: (errors.Uninitialised, "reads register {register} before it is written"),
    at.RACE_READ_AFTER_WRITE: (errors.DataRace, "reads {address}, which is not ordered after a write by {stamp}"),
    at.RACE_WRITE_AFTER_WRITE: (errors.DataRace, "writes {address}, which is not ordered after a write by {stamp}"),
    at.RACE_WRITE_AFTER_READ: (errors.DataRace, "writes {address}, which is not ordered after a read by {stamp}"),
    at.DIVERGENT_BARRIER: (errors.DivergentBarrier, "waits here while others wait at {other_site}"),
    at.BARRIER_AFTER_EXIT: (errors.DivergentBarrier, "waits here after other threads have exited"),
    at.EXIT_AT_BARRIER: (errors.DivergentBarrier, "has exited while others wait here"),
    at.WARP_MASK_WITHOUT_SELF: (errors.DivergentBarrier, "the mask {number} leaves out the thread itself"),
    at.WARP_MASK_OF_NOBODY: (errors.DivergentBarrier, "the mask {number} names lanes that do not exist; {other} do"),
    at.SHUFFLE_FROM_OUTSIDE: (errors.DivergentBarrier, "takes the value of lane {lane}, which is not in the mask"),
    at.OVER_BUDGET: (errors.Livelock, "the launch has executed more instructions than its budget of {budget}"),
    at.DIVISION_BY_ZERO: (errors.DivisionByZero, "divides an integer by zero"),
    at.TRAP: (errors.ExecutionError, "trap"),
    at.TOO_MANY_CLOCKS: (errors.LimitExceeded, "too many threads release to others on their own account"),
    at.TOO_MANY_SYNCHRONISED: (errors.LimitExceeded, "atomic operations on too many addresses"),
    at.CLOCK_OVERFLOW: (errors.LimitExceeded, "too many barriers and releases"),
}


class Report:
    """Explains the end of a launch.

    Args:
        kernel: that was launched.
        launch: after its end.
        text: of the PTX module.
        names: of the arrays among the arguments, with their spans: name, first byte, end.
    """

    def __init__(self, kernel: Translation, launch: Launch, text: str, names: Sequence[tuple[str, int, int]]) -> None:
        self._kernel, self._launch, self._text, self._names = kernel, launch, text, names

    def error(self) -> errors.ExecutionError | None:
        """The error of the launch, if there was one."""
        context = self._launch.context
        code = int(context[at.C_ERROR])
        if code == at.NO_ERROR:
            return None
        thread, site = int(context[at.C_ERROR_THREAD]), int(context[at.C_ERROR_SITE])
        address, other = int(context[at.C_ERROR_ADDRESS]), int(context[at.C_ERROR_OTHER])
        if code == at.STUCK:
            return self._stuck()
        kind, text = _KINDS[code]
        register = self._kernel.registers[other] if code == at.UNINITIALISED_REGISTER else ""
        what = text.format(
            address=self._address(address, site),
            number=hex(address),
            lane=address,
            other=other,
            other_site=self._site(other) if code == at.DIVERGENT_BARRIER else "",
            stamp=self._stamp(other),
            register=register,
            budget=int(context[at.C_BUDGET]),
        )
        return kind(f"{self._kernel_name()}: {_thread(thread)}: {what}; at {self._site(site)}")

    def _kernel_name(self) -> str:
        name = self._kernel.name
        return f"kernel {name if len(name) <= 60 else f'{name[:40]}...{name[-15:]}'}"

    def _site(self, site: int) -> str:
        line, start, end = self._kernel.sites[site] if 0 < site < len(self._kernel.sites) else (0, 0, 0)
        if not line:
            return "no instruction in particular"
        text = " ".join(self._text[start:end].split())
        return f"line {line}: {text if len(text) <= 120 else text[:117] + '...'}"

    def _stamp(self, stamp: int) -> str:
        """Who made a stamp, and where."""
        name = stamp >> at.THREAD_SHIFT & at.THREAD_MASK
        site = (stamp & at.SITE_MASK) >> at.SITE_SHIFT
        who = {
            at.WARP: f"block {name >> 10} warp {(name & 1023) >> 5}, several threads, one of them",
            at.BLOCK: f"block {name >> 10}, several threads, one of them",
        }.get(stamp & at.KINDS, _thread(name))
        return f"{who} at {self._site(site)}"

    def _address(self, address: int, site: int) -> str:
        for name, low, high in self._names:
            if low <= address < high:
                return f"{name} + {address - low} bytes"
        text = self._site(site)
        if address >= at.LOCAL_WINDOW or ".local" in text:
            return f"local memory + {address % at.WINDOW} bytes"
        if address >= at.SHARED_WINDOW or ".shared" in text or address < self._launch.context[at.C_SHARED_BYTES]:
            size = int(self._launch.context[at.C_SHARED_BYTES])
            return f"shared memory + {address if address < at.SHARED_WINDOW else address - at.SHARED_WINDOW} bytes of {size}"
        near = [(address - high, name) for name, _, high in self._names if 0 <= address - high < 1 << 20]
        near += [(low - address, name) for name, low, _ in self._names if 0 < low - address < 1 << 20]
        return f"{address:#x}" + (f" ({min(near)[0]} bytes outside of {min(near)[1]})" if near else "")

    def _stuck(self) -> errors.ExecutionError:
        """Nobody can go on, or those who can only poll."""
        rows, waits = self._launch.threads, []
        status, index = rows[:, at.T_STATUS], rows[:, at.T_ID]
        sites = rows[:, at.T_SITE]
        for code, verb in ((at.AT_WARP, "wait for lanes"), (at.AT_BARRIER, "wait"), (at.AT_GRID, "wait for the grid")):
            for site in sorted(set(sites[status == code].tolist())):
                chosen = (status == code) & (sites == site)
                first = int(index[chosen][0])
                waits.append(f"{int(chosen.sum())} {verb} at {self._site(site)} ({_thread(first)} is one)")
        polling = status == at.RUNS
        for site in sorted(set(rows[polling, at.T_POLLED].tolist())):
            chosen = polling & (rows[:, at.T_POLLED] == site)
            first = int(index[chosen][0])
            value = int(rows[chosen, at.T_POLLED_VALUE][0])
            waits.append(f"{int(chosen.sum())} poll {value} at {self._site(site)} ({_thread(first)} is one)")
        exited = int((status == at.EXITED).sum())
        text = f"{self._kernel_name()}: of {len(rows)} threads {exited} have exited, {', '.join(waits)}"
        return self._stuck_kind()(text)

    def _stuck_kind(self) -> type[errors.ExecutionError]:
        rows = self._launch.threads
        status = rows[:, at.T_STATUS]
        if (status == at.AT_WARP).any():
            return errors.DivergentBarrier
        block = rows[:, at.T_ID] >> 10
        for number in set(block[status == at.AT_BARRIER].tolist()):
            if (status[block == number] == at.AT_GRID).any():
                return errors.DivergentBarrier
        return errors.Livelock if (status == at.RUNS).any() else errors.Deadlock


def _thread(name: int) -> str:
    return f"block {name >> 10} thread {name & 1023}"
