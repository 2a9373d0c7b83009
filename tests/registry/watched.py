"""Somebody who follows the table, and checks every line against what was really saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from deployd.model.registration import Registration
from deployd.model.row_change import RowChange
from deployd.registry.filter import RowFilter
from deployd.registry.position import Phase, Position
from deployd.registry.service import Registry
from deployd.wire.rows import document

Table = dict[str, Registration]


class SavedChanges:
    """All changes that a store has taken, of one epoch, which began with ``table`` at ``number``."""

    def __init__(self, epoch: str, table: Table, number: int) -> None:
        self.epoch = epoch
        self._begun = number
        self._changes: list[RowChange] = []
        self._tables: list[Table] = [table]

    @property
    def number(self) -> int:
        return self._begun + len(self._changes)

    def take(self, changes: Sequence[RowChange]) -> None:
        for change in changes:
            assert change.number == self.number + 1, "numbers follow each other"
            table = dict(self._tables[-1])
            if change.freed:
                gone = table.pop(change.row.id, None)
                assert gone == change.row, "what is freed is what was there"
            else:
                assert change.row.revision == change.number
                table[change.row.id] = change.row
            self._changes.append(change)
            self._tables.append(table)

    def changes(self, after: int, end: int) -> list[RowChange]:
        assert after >= self._begun
        return self._changes[after - self._begun : end - self._begun]

    def table(self, number: int) -> Table:
        """As it was after that change."""
        return self._tables[max(0, number - self._begun)]


class Watcher:
    """``follows`` pages; its table is always that of some revision, and what it is told is each change once."""

    def __init__(self, wanted: RowFilter) -> None:
        self.wanted = wanted
        self.position = ""
        self._table: dict[str, dict[str, Any]] = {}
        # In a snapshot nothing is known before it is whole.
        self._is_live = False

    @classmethod
    def at(cls, saved: SavedChanges, number: int, wanted: RowFilter) -> Watcher:
        """One who has followed up to there, or says so."""
        watcher = cls(wanted)
        watcher.position = f"{saved.epoch}.{number}"
        table = saved.table(min(number, saved.number))
        watcher._table = {row.id: document(row) for row in table.values() if wanted.takes(row)}
        watcher._is_live = True
        return watcher

    @property
    def number(self) -> int:
        position = Position.parse(self.position)
        assert position is not None
        return position.number

    def follow(self, registry: Registry, saved: SavedChanges) -> bool:
        """One page; whether there may be more."""
        before = Position.parse(self.position)
        following = registry.follow(before, self.wanted, 0.0, self, "address")
        pages: list[Any] = []
        Deferred.fromCoroutine(following).addCallback(pages.append)
        (page,) = pages
        lines = list(page.lines)
        if lines and lines[0]["type"] == "reset":
            reset = lines.pop(0)
            assert reset["epoch"] == saved.epoch
            assert before is None or not self._could_go_on(before, registry, saved), "a reset without need"
            self._table, self._is_live = {}, False
        elif before is not None and before.phase is Phase.LIVE:
            self._check_lines(lines, before.number, page.position, saved)
        last = 0
        for line in lines:
            assert line["revision"] > last, "numbers only grow"
            last = line["revision"]
            row_id = line["row"]["id"]
            if line["type"] == "put":
                self._table[row_id] = line["row"]
            elif self._is_live:
                assert self._table.pop(row_id) == line["row"], "what is deleted was known"
            else:
                self._table.pop(row_id, None)
        self.position = str(page.position)
        assert page.position.epoch == saved.epoch
        if page.whole:
            assert page.position.phase is Phase.LIVE
            self._is_live = True
            self._check_table(page.position.number, saved)
        return bool(page.lines) or not page.whole

    def _check_lines(self, lines: list[dict[str, Any]], after: int, end: Position, saved: SavedChanges) -> None:
        """Each change once, none left out."""
        expected = [change for change in saved.changes(after, end.number) if self.wanted.takes(change.row)]
        kinds = [("delete" if change.freed else "put", change.number) for change in expected]
        assert [(line["type"], line["revision"]) for line in lines] == kinds
        assert [line["row"] for line in lines] == [document(change.row) for change in expected]

    def _check_table(self, number: int, saved: SavedChanges) -> None:
        table = saved.table(number)
        assert self._table == {row.id: document(row) for row in table.values() if self.wanted.takes(row)}

    def _could_go_on(self, position: Position, registry: Registry, saved: SavedChanges) -> bool:
        """Whether everything since then is still known, and the position is of this epoch."""
        needed = position.until if position.phase is Phase.SNAPSHOT else position.number
        kept = int(registry.figures()["history_changes"])
        same = position.epoch in ("", saved.epoch)
        return same and registry.revision.number - kept <= needed <= registry.revision.number
