"""The objects of one repository, as a worker keeps them open from job to job.

Call ``refresh`` when a job begins: what is there then stays readable until the next call, also when a consolidation, or
a person's ``git gc``, deletes it meanwhile. Places and the numbers of commits hold until ``refresh`` returns True.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from functools import partial
from hashlib import sha1
from pathlib import Path

from attrs import define, field

from deployd.git.kinds import COMMIT, TREE
from deployd.git.packs.chart import chart_path, open_chart, save_chart
from deployd.git.packs.charting import chart_pack
from deployd.git.packs.contents import Contents
from deployd.git.packs.drawing import Lookup
from deployd.git.packs.entries import HEADER, TRAILER
from deployd.git.packs.graph import Graph
from deployd.git.packs.links import tree_children
from deployd.git.packs.loose import loose_ids, loose_pack
from deployd.git.packs.mapping import map_path
from deployd.git.packs.rows import NUMBER, ROW, PackRows
from deployd.git.packs.store import Packs
from deployd.git.packs.writing import pack_header
from deployd.git.problems import BadPack

_TRIES = 5
_PIECE = 1 << 20
_COMMIT_BYTES, _PACK_BYTES = 400, 8000


@define(eq=False)
class Objects:
    """Of the bare repository at ``repository``; one thread uses it. Ids have 20 bytes.

    A place is an int, a pack's number << 32 | a row of it. ``packs`` are by number. When some objects are loose, the
    last pack is made of those, and has no path. ``kept_bytes``: how much content is kept for later reads. ``version``
    grows whenever a pack came or went.
    """

    repository: Path
    kept_bytes: int = 16 << 20
    version: int = field(init=False, default=0)
    packs: list[PackRows] = field(init=False, factory=list)
    graph: Graph = field(init=False)
    _contents: Contents = field(init=False)
    _loose: frozenset[bytes] = field(init=False)
    _repeated: dict[int, list[int]] | None = field(init=False, default=None)
    _joint: bytes | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._contents = Contents(self.kept_bytes)
        self._forget()

    def refresh(self) -> bool:
        """See what is in the repository now; return whether places and numbers from before mean nothing any more.

        A pack without a chart gets one, which may take long: ``uncharted`` tells. Raise BadPack when one is damaged.
        """
        for _ in range(_TRIES):
            # A pack may go while it is opened; then another has what it had.
            with suppress(FileNotFoundError):
                return self._refresh()
        raise BadPack("the repository's packs change all the time")

    def uncharted(self) -> int:
        """How many bytes of packs have no chart yet: what the next ``refresh`` has to read."""
        total = 0
        for path in self._paths() - {pack.path for pack in self.packs}:
            with suppress(FileNotFoundError):
                if not chart_path(path).exists():
                    total += path.stat().st_size
        return total

    def weight(self) -> int:
        """About how many bytes of memory this holds, mapped files not counted."""
        return self._contents.held + len(self.graph) * _COMMIT_BYTES + len(self.packs) * _PACK_BYTES

    def place(self, object_id: bytes) -> int | None:
        """Where an object is; None when it is not here."""
        return next(self.places(object_id), None)

    def places(self, object_id: bytes) -> Iterator[int]:
        """All the places of an object, of which there are several when packs have it twice."""
        for pack in self.packs:
            row = pack.row(object_id)
            if row is not None:
                yield pack.first + row

    def id(self, place: int) -> bytes:
        """The id of the object at a place."""
        return self.packs[place >> NUMBER].id(place & ROW)

    def kind(self, place: int) -> int:
        """The kind of the object at a place (deltas resolved)."""
        return self.packs[place >> NUMBER].kinds[place & ROW]

    def size(self, place: int) -> int:
        """The size of the object at a place in bytes; next to nothing is read for it."""
        return self.packs[place >> NUMBER].object_size(place & ROW)

    def read(self, place: int) -> tuple[int, bytes]:
        """(kind, content) of the object at a place. Raise BadPack when the pack is damaged."""
        pack, row = self.packs[place >> NUMBER], place & ROW
        return pack.kinds[row], pack.read(row, self._contents)

    def tree_set(self, place: int) -> Set[int]:
        """The places of what a tree has in it, submodules left out, and what is not here."""
        near = self.packs[place >> NUMBER]
        found = {self._near(near, object_id) for object_id in tree_children(self.read(place)[1])}
        return {inner for inner in found if inner is not None}

    def trees(self, places: Iterable[int]) -> list[int]:
        """Those of some places where a tree is."""
        return [place for place in places if self.kind(place) == TREE]

    def repeated(self) -> dict[int, list[int]]:
        """By pack number, those of its rows that are objects of a pack with a lower number too; mostly nothing."""
        if self._repeated is None:
            self._repeated = {}
            known = set[bytes]()
            for pack in self.packs:
                names = [pack.id(row) for row in range(len(pack))]
                if not known.isdisjoint(names):
                    self._repeated[pack.number] = [row for row, name in enumerate(names) if name in known]
                if pack is not self.packs[-1]:
                    known.update(names)
        return self._repeated

    def joint_checksum(self) -> bytes:
        """The trailer of the pack that is all packs, one after the other, behind one header.

        It costs as much as reading them all, and is kept until a pack comes or goes.
        """
        if self._joint is None:
            digest = sha1(pack_header(sum(map(len, self.packs))), usedforsecurity=False)
            for pack in self.packs:
                end = len(pack.content) - TRAILER
                for start in range(HEADER, end, _PIECE):
                    digest.update(pack.content[start : min(start + _PIECE, end)])
            self._joint = digest.digest()
        return self._joint

    def close(self) -> None:
        """Let all files go."""
        self._forget()

    def _near(self, pack: PackRows, object_id: bytes) -> int | None:
        row = pack.row(object_id)
        return self.place(object_id) if row is None else pack.first + row

    def _forget(self) -> None:
        self.packs = []
        self.graph = Graph(self.place, self.tree_set, self.trees)
        self._loose = frozenset()
        self._contents.clear()

    def _paths(self) -> set[Path]:
        directory = self.repository / "objects/pack"
        names = {path.name for path in directory.iterdir()}
        return {
            directory / (name[:-4] + ".pack")
            for name in names
            if name.endswith(".idx") and name[:-4] + ".pack" in names
        }

    def _refresh(self) -> bool:
        paths, loose = self._paths(), loose_ids(self.repository / "objects")
        known = {pack.path: pack for pack in self.packs if pack.path}
        if paths == known.keys() and loose == self._loose:
            return False
        anew = bool(loose or self._loose or known.keys() - paths)
        fresh = paths if anew else paths - known.keys()
        with Packs(self.repository / "objects") as everything:
            lookup = partial(_commit_or_tree, everything)
            packs = [known.get(path) or self._open(path, lookup) for path in sorted(fresh, key=_age)]
            alone = {name for name in loose if all(pack.row(name) is None for pack in packs)}
            if alone:
                packs.append(loose_pack(self.repository, alone, len(packs), lookup))
        if anew:
            self._forget()
        for pack in packs:
            pack.number = len(self.packs)
            self.packs.append(pack)
        self._loose = loose
        self.graph.extend(packs)
        self._repeated = self._joint = None
        self.version += 1
        return anew

    def _open(self, path: Path, lookup: Lookup) -> PackRows:
        content = map_path(path)
        if len(content) < TRAILER:
            raise BadPack(f"{path.name} is damaged: it is cut short")
        side, mark = chart_path(path), bytes(content[-TRAILER:])
        chart = open_chart(side, len(content), mark)
        if chart is None:
            try:
                chart = chart_pack(path, content, lookup)
            except BadPack as problem:
                raise BadPack(f"{path.name} is damaged: {problem}") from problem
            # Without room for it on the disk it is made again next time.
            with suppress(OSError):
                save_chart(side, chart, len(content), mark)
                chart = open_chart(side, len(content), mark) or chart
        return PackRows(path, 0, chart, content)


def _age(path: Path) -> tuple[int, Path]:
    return path.stat().st_mtime_ns, path


def _commit_or_tree(packs: Packs, object_id: bytes) -> tuple[int, bytes] | None:
    return packs.read(object_id) if packs.kind(object_id) in (COMMIT, TREE) else None
