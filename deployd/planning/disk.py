"""What may go from a drone's disk, and what does not fit on it."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

_UNITS = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


@frozen(order=True)
class Stored:
    """Something on disk that can be made again; ``used`` is when it was used last, ``size`` in bytes."""

    used: float
    name: str
    size: int
    in_use: bool = False


def evicted(stored: Iterable[Stored], shortage: int) -> tuple[Stored, ...]:
    """What goes to win ``shortage`` bytes: the least recently used first, nothing in use, and no more than it takes.

    All that is unused, if that is still too little.
    """
    going: list[Stored] = []
    for each in sorted(stored):
        if shortage <= 0:
            break
        if not each.in_use and each.size > 0:
            going.append(each)
            shortage -= each.size
    return tuple(going)


def over_budget(stored: Iterable[Stored], budget: int) -> tuple[Stored, ...]:
    """What goes so that all together keep within ``budget`` bytes, as far as what is in use lets them."""
    everything = tuple(stored)
    return evicted(everything, sum(each.size for each in everything) - budget)


def reserve(wanted: int | None, total: int) -> int:
    """The bytes that stay free on a disk of ``total``: as asked for, else 512 MiB, but no more than a twentieth."""
    return min(512 << 20, total // 20) if wanted is None else wanted


def refusal(what: str, needed: int, room: int, reserved: int, running: int) -> str:
    """Why ``what`` does not come here: it needs ``needed`` bytes, and beside the reserve there is ``room`` for so many.

    ``running`` bytes belong to releases that are here.
    """
    way_out = "make room on that disk"
    if running:
        way_out = f"{size_text(running)} are in use by releases: retire some (`deployctl retire --unused`)"
    kept = f" ({size_text(reserved)} stay in reserve)" if reserved else ""
    return f"{what} needs about {size_text(needed)} of disk space here, where {_free(room)}{kept}; {way_out}"


def _free(room: int) -> str:
    return f"{size_text(room)} are free" if room > 0 else "none is free"


def size_text(size: int) -> str:
    """``1.2 GB``, ``12 MB``, ``1 byte``."""
    for unit, length in _UNITS:
        if size >= length:
            amount = size / length
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return "1 byte" if size == 1 else f"{size} bytes"
