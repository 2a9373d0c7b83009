"""A pack made by its recipe: bytes of the repository's packs as they are where that is right, else copied entries.

Everything in the repository may go out as it is when what is wanted leads to all of it. One pack is sent as it lies
there; several are one after the other, behind a new header and before a new checksum, provided that no object is in two
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Set
from pathlib import Path

from attrs import frozen

from deployd.git.packs.copying import copy_entries
from deployd.git.packs.entries import HEADER, TRAILER
from deployd.git.packs.objects import Objects
from deployd.git.packs.reach import Reach
from deployd.git.packs.writing import pack_header
from deployd.git.serving.recipes import Recipe
from deployd.git.serving.selecting import Selection


@frozen
class Piece:
    """Bytes ``start`` to ``end`` of the file ``path``; or, when that is "", those that ``literal`` says in hex."""

    path: str = ""
    start: int = 0
    end: int = 0
    literal: str = ""


@frozen
class Parcel:
    """A pack of ``size`` bytes and ``objects`` objects: ``pieces`` one after the other, or, without any, what was
    written to the target."""

    pieces: tuple[Piece, ...]
    size: int
    objects: int

    @property
    def remark(self) -> str:
        """What a reader sees of it behind ``remote:``."""
        return f"Total {self.objects} objects, {self.size} bytes"


def prepare(objects: Objects, recipe: Recipe, target: Path, note: Callable[[int], object]) -> Parcel:
    """Make the pack of ``recipe``; ``note`` hears how many bytes ``target`` has already, which are final.

    Raise NotOurs when something is not here any more.
    """
    objects.refresh()
    bases: Set[bytes] = frozenset()
    if _is_everything(objects, recipe):
        if not objects.repeated() and all(pack.path for pack in objects.packs):
            return _as_it_is(objects)
        places: Collection[int] = _once(objects)
    else:
        selection = Selection(objects, recipe)
        places = selection.places()
        if recipe.thin:
            bases = selection.bases()
    with target.open("wb") as out:

        def grown(size: int) -> None:
            # Who reads what grows has only what has left this process.
            out.flush()
            note(size)

        copy_entries(objects, places, out, ofs=recipe.distances, has_base=bases.__contains__, grown=grown)
        size = out.tell()
    return Parcel((), size, len(places))


def _is_everything(objects: Objects, recipe: Recipe) -> bool:
    """Whether all that the packs have is wanted, and the reader understands it as it is."""
    if recipe.held or recipe.cut or recipe.filter or not recipe.distances:
        return False
    return Reach(objects, map(bytes.fromhex, (*recipe.tips, *recipe.others))).everything


def _as_it_is(objects: Objects) -> Parcel:
    packs = [pack for pack in objects.packs if len(pack)]
    if len(packs) == 1:
        size = len(packs[0].content)
        return Parcel((Piece(str(packs[0].path), 0, size),), size, len(packs[0]))
    total = sum(map(len, packs))
    slices = [Piece(str(pack.path), HEADER, len(pack.content) - TRAILER) for pack in packs]
    size = HEADER + sum(piece.end - piece.start for piece in slices) + TRAILER
    first, last = Piece(literal=pack_header(total).hex()), Piece(literal=objects.joint_checksum().hex())
    return Parcel((first, *slices, last), size, total)


def _once(objects: Objects) -> list[int]:
    """The places of all objects, each once."""
    places = list[int]()
    for pack in objects.packs:
        rows: Iterable[int] = range(len(pack))
        if again := objects.repeated().get(pack.number):
            rows = sorted(set(rows).difference(again))
        places += [pack.first + row for row in rows]
    return places
