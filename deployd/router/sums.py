"""Several workers as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deployd.model.revision import Revision
from deployd.model.route import RouteKey, Tally
from deployd.model.router import Standing

_Key = tuple[RouteKey, str]


def together(newest: Standing, workers: Sequence[Standing]) -> Standing:
    """Where all of ``workers`` stand, who are told what leads to ``newest``; that itself if there are none."""
    busy: dict[str, int] = {}
    releases: dict[str, int] = {}
    for worker in workers:
        for id, count in worker.busy.items():
            busy[id] = busy.get(id, 0) + count
        for key, count in worker.releases.items():
            releases[key] = releases.get(key, 0) + count
    return Standing(
        _oldest(newest.table, (worker.table for worker in workers)),
        _oldest(newest.registry, (worker.registry for worker in workers)),
        busy,
        releases,
    )


def _oldest(newest: Revision, others: Iterable[Revision]) -> Revision:
    """The one that all have reached. Of an epoch before the newest one: nobody knows the order of epochs, but all
    workers meet them in the same one."""
    oldest = newest
    for other in others:
        if oldest.reached(other) or (other.epoch != newest.epoch and oldest.epoch == newest.epoch):
            oldest = other
    return oldest


def added(one: Tally, other: Tally) -> Tally:
    return Tally(
        one.key,
        one.release,
        one.requests + other.requests,
        one.errors + other.errors,
        one.seconds + other.seconds,
        _added(one.slow, other.slow),
        _added(one.classes, other.classes),
    )


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True)) if one and other else one or other


class Counted:
    """What one worker has counted. Once it has ended that stays in the sums, but says nothing new."""

    def __init__(self, sums: Sums) -> None:
        self._sums = sums
        self.tallies: dict[_Key, Tally] = {}

    def take(self, tallies: Iterable[Tally]) -> None:
        """It has counted so much by now."""
        for tally in tallies:
            key = (tally.key, tally.release)
            self.tallies[key] = tally
            self._sums.changed[key] = self._sums.reading

    def ended(self) -> None:
        self._sums.ended(self)


class Sums:
    """Tallies over all workers, living and dead; ``read`` is as of deployd.router.tallies."""

    def __init__(self) -> None:
        self.reading = 1
        self.changed: dict[_Key, int] = {}
        self._workers: list[Counted] = []
        self._dead: dict[_Key, Tally] = {}

    def worker(self) -> Counted:
        counted = Counted(self)
        self._workers.append(counted)
        return counted

    def ended(self, worker: Counted) -> None:
        self._workers.remove(worker)
        for key, tally in worker.tallies.items():
            before = self._dead.get(key)
            self._dead[key] = added(before, tally) if before else tally

    def read(self, since: int) -> tuple[int, tuple[Tally, ...]]:
        number = self.reading
        self.reading += 1
        return number, tuple(self._sum(key) for key, changed in self.changed.items() if changed > since)

    def routes(self) -> set[RouteKey]:
        return {route for route, _ in self.changed}

    def forget(self, keys: Iterable[RouteKey]) -> None:
        """These routes are no more."""
        gone = frozenset(keys)
        if not gone:
            return
        for tallies in (self._dead, *(worker.tallies for worker in self._workers)):
            for key in [key for key in tallies if key[0] in gone]:
                del tallies[key]
        for key in [key for key in self.changed if key[0] in gone]:
            del self.changed[key]

    def _sum(self, key: _Key) -> Tally:
        total = self._dead.get(key)
        for worker in self._workers:
            tally = worker.tallies.get(key)
            if tally is not None:
                total = added(total, tally) if total else tally
        assert total is not None
        return total
