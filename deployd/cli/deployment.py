"""A deploy as values: what was asked for, and how it stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from deployd.cli.rendering import cell, counted, drone_line, indented, named_release
from deployd.cli.work_tree import WorkTree
from deployd.errors import UsageError
from deployd.model.names import app_name, drone_name, label
from deployd.model.release import Need

Row = Mapping[str, Any]


@frozen
class Wanted:
    """``app`` None: the one that ``tree`` pushes to, which only the hub's address tells."""

    app: str | None
    commit: str
    drones: tuple[str, ...]
    where: tuple[str, ...]
    need: str
    tree: WorkTree | None = None

    @classmethod
    def parse(
        cls,
        app: str | None,
        commit: str | None,
        drones: Sequence[str],
        where: Sequence[str],
        need: str,
        tree: WorkTree | None,
    ) -> Wanted:
        """Check what a person typed before anybody is asked; raise Invalid, UsageError."""
        for pair in where:
            label(pair)
        if commit is None:
            commit = tree.head if tree is not None else ""
        if not commit:
            raise UsageError("there is no commit in this work tree yet; commit, push, and deploy again")
        return cls(
            app=None if app is None else app_name(app),
            commit=commit,
            drones=tuple(drone_name(name) for name in drones),
            where=tuple(where),
            need=Need.parse(need).text,
            tree=tree,
        )


@frozen
class Deployment:
    """How a release stands; ``drones`` are rows ``{drone state reason tail}``.

    ``changed`` is false when there was nothing to do.
    """

    app: str
    commit: str
    release: str
    changed: bool = True
    state: str = "deploying"
    reason: str = ""
    need: str = "all"
    drones: tuple[Row, ...] = ()

    @property
    def title(self) -> str:
        return named_release(self.app, self.release, self.commit)

    @property
    def over(self) -> bool:
        """Whether waiting is pointless."""
        return self.state != "deploying"

    @property
    def failed(self) -> bool:
        return self.over and self.state != "deployed"

    def seen(self, status: Mapping[str, Any], drones: Sequence[Row]) -> Deployment:
        """This deployment as the hub now tells of it."""
        return evolve(self, state=status["state"], reason=status["reason"], need=status["need"], drones=tuple(drones))

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "app": self.app,
            "commit": self.commit,
            "release": self.release,
            "changed": self.changed,
            "state": self.state,
            "reason": self.reason,
            "need": self.need,
            "drones": [dict(row) for row in self.drones],
        }

    def verdict(self) -> str:
        """How a deploy that did not fail ended, in a sentence, and the drones that are not part of that success."""
        if not self.changed:
            return f"{self.title} is deployed already"
        waiting = [row for row in self.drones if row.get("state") not in ("ready", "nothing")]
        counts = f"{self._ready()} of {counted(len(self.drones), 'drone')} ready"
        return "\n".join([f"{self.title} is deployed: {counts}", *(drone_line(row) for row in waiting)])

    def complaint(self) -> str:
        """Why it failed: a sentence, then per drone that is not well its reason and its app's last lines."""
        reason = f": {cell(self.reason)}" if self.reason else ""
        parts = [f"deployctl: {self.title} {_ended(self.state)}{reason}"]
        for row in self.drones:
            if row.get("state") != "nothing" and (row.get("state") != "ready" or row.get("reason")):
                parts += [drone_line(row), indented(str(row.get("tail") or ""))]
        return "\n".join(part for part in parts if part)

    def _ready(self) -> int:
        return sum(row.get("state") in ("ready", "nothing") for row in self.drones)


def _ended(state: str) -> str:
    return "failed" if state == "failed" else f"was taken down meanwhile ({cell(state)})"
