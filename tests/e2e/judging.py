"""Whether a load went as promised, told from its records and from what was done meanwhile.

Two things are forgiven, both only at a kill: a POST that was under way on a killed app or router, and asking the
other router where one was killed or restarted. Nothing else is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.e2e.load import Record

SHOWN = 20
# A killed process's connections are found out within this.
MOMENT = 0.1


@dataclass
class Deed:
    """Something that was done to the cluster; ``router`` is the number of the one that it takes away for a while."""

    what: str
    begun: float
    ended: float = float("inf")
    router: int | None = None
    kills: list[float] = field(default_factory=list)
    releases: frozenset[str] = frozenset()
    """The releases that may get requests once it is done; with none it leaves the route as it is."""


class Story:
    """What was done, in order; one thing at a time."""

    def __init__(self, releases: frozenset[str]) -> None:
        self.start = time.monotonic()
        self.deeds = [Deed("start", 0.0, 0.0, releases=releases)]

    @contextmanager
    def deed(self, what: str, router: int | None = None) -> Iterator[Deed]:
        deed = Deed(what, time.monotonic(), router=router)
        self.deeds.append(deed)
        yield deed
        deed.ended = time.monotonic()

    def allowed(self, record: Record) -> frozenset[str]:
        """The releases with weight at some moment of a request."""
        allowed: frozenset[str] = frozenset()
        for deed in self.deeds:
            if deed.releases and deed.begun <= record.end:
                allowed = deed.releases if deed.ended <= record.start else allowed | deed.releases
        return allowed

    def faults(self, records: list[Record]) -> list[str]:
        """A line for every request that did not go as promised."""
        return [f"{self._when(record)}: {record}: {wrong}" for record in records if (wrong := self._wrong(record))]

    def _wrong(self, record: Record) -> str:
        if not record.worked:
            return "" if record.method == "POST" and self._killed(record) else "failed"
        if record.answer["release"] not in (allowed := self.allowed(record)):
            return f"only {', '.join(sorted(allowed))} had weight"
        if "said" in record.answer and record.answer["said"] != record.answer["release"]:
            return f"its say was of {record.answer['said']}"
        if record.elsewhere and not self._was_away(1 - record.router, record):
            return "nothing was done to the router that was asked first"
        return ""

    def _killed(self, record: Record) -> bool:
        kills = (kill for deed in self.deeds for kill in deed.kills)
        return any(record.start - MOMENT <= kill <= record.end for kill in kills)

    def _was_away(self, router: int, record: Record) -> bool:
        return any(d.router == router and d.begun <= record.end and record.start <= d.ended for d in self.deeds)

    def _when(self, record: Record) -> str:
        under_way = [deed for deed in self.deeds if deed.begun <= record.end]
        near = ", ".join(f"{record.start - deed.begun:+.3f} s from '{deed.what}'" for deed in under_way[-2:])
        return f"at {record.start - self.start:.3f} s ({near})"

    def summary(self, records: list[Record]) -> str:
        """What was asked, by kind and by outcome, and what was done."""
        kinds = Counter((record.loop, record.method) for record in records)
        asked = ", ".join(f"{count} {loop} {method}" for (loop, method), count in sorted(kinds.items()))
        spent = sorted(record.end - record.start for record in records)
        elsewhere = sum(bool(record.elsewhere) for record in records)
        forgiven = sum(not record.worked for record in records)
        median, most, longest = spent[len(spent) // 2], spent[len(spent) * 99 // 100], spent[-1]
        times = f"median {median:.3f} s, p99 {most:.3f} s, max {longest:.3f} s"
        deeds = "".join(
            f"\n  {deed.begun - self.start:8.3f} - {deed.ended - self.start:8.3f} {deed.what}"
            for deed in self.deeds[1:]
        )
        return f"{asked}; {elsewhere} asked elsewhere, {forgiven} failed; {times}{deeds}"

    def judge(self, records: list[Record]) -> None:
        """Fail with the faults, if there are any, and with what was done when."""
        faults = self.faults(records)
        print(self.summary(records))
        assert records
        shown = "\n".join(faults[:SHOWN])
        assert not faults, f"{len(faults)} of {len(records)} requests:\n{shown}\n{self.summary(records)}"
