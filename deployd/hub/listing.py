"""What there is, as the rows that ``deployctl --json`` prints (docs/reference)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import frozen

from deployd.errors import UnknownCommit, UsageError
from deployd.hub.commits import Commits
from deployd.hub.fleet import Fleet, unknown_drone
from deployd.hub.ledger import Ledger
from deployd.hub.rollouts import MAX_REASON
from deployd.hub.route_listing import RouteListing
from deployd.model.desired import Desired, KnownDrone
from deployd.model.instance import AssignedInstance, ObservedInstance, State
from deployd.model.names import release_number, shown
from deployd.model.release import Release
from deployd.planning.placement import is_stopped, possible_lines, wanted_lines
from deployd.wire.documents import dump

Row = dict[str, Any]
PAGE_BYTES = 48 * 1024
PAGE_APPS = 200


@frozen
class Filter:
    """Empty: any. ``commit`` is the beginning of an id, ``vN``, or with an app also a branch or tag."""

    app: str = ""
    commit: str = ""
    drone: str = ""
    after: str = ""


class Listing:
    """Rows in pages; each row comes with the key from which the next page goes on."""

    def __init__(self, ledger: Ledger, fleet: Fleet, commits: Commits, routes: RouteListing) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._commits = commits
        self._routes = routes

    async def page(self, kind: str, asked: Filter) -> tuple[list[Row], str]:
        """One page, and the ``after`` of the next ("" on the last).

        Raise Invalid, UsageError, UnknownApp, UnknownCommit, UnknownDrone, UnknownRoute.
        """
        if kind == "routes":
            return first_page(self._routes.routes(asked.app, asked.after), asked.after)
        if kind == "history":
            return first_page(self._routes.history(asked.app, asked.after), asked.after)
        if asked.app:
            await self._commits.check_app(asked.app)
        if asked.drone and asked.drone not in self._ledger.desired.drones:
            raise unknown_drone(asked.drone)
        if kind == "apps":
            return await self._apps(asked)
        commit = await self._known_commit(asked)
        desired = self._ledger.desired
        if kind == "drones":
            return first_page(self._drones(desired), asked.after)
        if kind == "releases":
            return first_page(self._releases(desired, asked, commit), asked.after)
        if kind == "instances":
            return first_page(self._instances(desired, asked, commit), asked.after)
        raise UsageError(f"there is no list of {shown(kind)}")

    async def _known_commit(self, asked: Filter) -> str:
        """What of ``asked.commit`` rows are held against; raise UnknownCommit when nothing has it."""
        text = asked.commit
        if not text:
            return ""
        if any(_is_of(release, asked.app, text) for release in self._ledger.desired.releases.values()):
            return text
        if asked.app:
            return (await self._commits.find(asked.app, text)).commit
        if release_number(text) is None and self._is_seen(text):
            return text
        raise UnknownCommit(f"no app has a release of {shown(text)}")

    def _is_seen(self, text: str) -> bool:
        """An orphan's commit has no release."""
        names = self._ledger.desired.drones
        return any(one.commit.startswith(text.lower()) for name in names for one in self._fleet.seen(name).values())

    async def _apps(self, asked: Filter) -> tuple[list[Row], str]:
        names = [name for name in sorted(self._ledger.desired.apps) if name > asked.after]
        names = [name for name in names if asked.app in ("", name)]
        heads = await self._commits.heads(names[:PAGE_APPS])
        rows = [{"app": name, "head": heads[name]} for name in names[:PAGE_APPS]]
        return rows, names[PAGE_APPS - 1] if len(names) > PAGE_APPS else ""

    def _drones(self, desired: Desired) -> Iterator[tuple[str, Row]]:
        for name in sorted(desired.drones):
            drone = desired.drones[name]
            state = "connected" if self._fleet.is_connected(name) else "away"
            if drone.draining:
                state = "draining"
            labels = dict(sorted(drone.description.labels.items()))
            limits = ", ".join(drone.description.enforces)
            yield name, {"name": name, "state": state, "labels": labels, "address": drone.address, "limits": limits}

    def _releases(self, desired: Desired, asked: Filter, commit: str) -> Iterator[tuple[str, Row]]:
        for _, release in sorted(desired.releases.items()):
            if _is_of(release, asked.app, commit):
                yield (
                    _key(release.app, release.number),
                    {
                        "app": release.app,
                        "release": release.name,
                        "commit": release.commit,
                        "state": release.state.value,
                        "reason": release.reason,
                        "created": release.created,
                        "pinned": release.pinned,
                        "config": release.config,
                    },
                )

    def _instances(self, desired: Desired, asked: Filter, commit: str) -> Iterator[tuple[str, Row]]:
        drones = desired.drones.values() if not asked.drone else [desired.drones[asked.drone]]
        rows = [row for drone in drones for row in self._instances_of(desired, drone)]
        for key, row in sorted(((_instance_key(row), row) for row in rows), key=lambda pair: pair[0]):
            if asked.app in ("", row["app"]) and _has_commit(row["commit"], row["release"], commit):
                yield key, row

    def _instances_of(self, desired: Desired, drone: KnownDrone) -> Iterator[Row]:
        heard, connected = self._fleet.heard(drone.name), self._fleet.is_connected(drone.name)
        seen = heard or {}
        lines = {line.id: line for line in self._lines(desired, drone, heard is None)}
        for line in lines.values():
            if line.id not in seen:
                yield _instance_row(drone.name, line, None, self._unseen(desired, drone, line))
        retiring = {(release.app, release.name) for release in desired.retiring}
        for one in seen.values():
            state = one.state if connected else State.AWAY
            if one.id not in lines and one.state.over:
                if (one.app, one.release) not in retiring:
                    continue
                # It is not over before the release is saved as retired.
                state = State.STOPPING if connected else State.AWAY
            yield _instance_row(drone.name, one, one, state)

    def _lines(self, desired: Desired, drone: KnownDrone, unheard: bool) -> Iterator[AssignedInstance]:
        """What is wanted there; of a drone that has not been heard also what may be there and is to go."""
        for release in desired.wanted:
            find = possible_lines if unheard else wanted_lines
            yield from find(desired, release, drone.description)
        for release in desired.retiring if unheard else ():
            yield from possible_lines(desired, release, drone.description)

    def _unseen(self, desired: Desired, drone: KnownDrone, line: AssignedInstance) -> State:
        view = self._fleet.view(drone.name)
        if not view.connected:
            return State.WAITING if self._fleet.is_expected(drone.name) else State.AWAY
        return State.STOPPED if view.current and is_stopped(desired, line.id) else State.WAITING


def _instance_row(
    drone: str, known: AssignedInstance | ObservedInstance, seen: ObservedInstance | None, state: State
) -> Row:
    return {
        "id": known.id,
        "app": known.app,
        "release": known.release,
        "commit": known.commit,
        "role": known.role,
        "drone": drone,
        "state": state.value,
        "port": seen.port if seen else 0,
        "pid": seen.pid if seen and state is not State.AWAY else 0,
        "restarts": seen.restarts if seen else 0,
        "reason": seen.reason[:MAX_REASON] if seen else "",
        "host": seen.host if seen else "",
        "generation": seen.generation if seen else 0,
    }


def first_page(rows: Iterable[tuple[str, Row]], after: str) -> tuple[list[Row], str]:
    """Those of ``rows`` (with keys, in order) after ``after`` that fit a page; the last key if there are more."""
    page: list[Row] = []
    size, last = 0, ""
    for key, row in rows:
        if after and key <= after:
            continue
        size += len(dump(row)) + 1
        if page and size > PAGE_BYTES:
            return page, last
        page.append(row)
        last = key
    return page, ""


def _key(app: str, number: int, *more: str) -> str:
    return "\0".join((app, f"{number:09}", *more))


def _instance_key(row: Row) -> str:
    # An orphan of a hub with other numbers may have any release.
    return _key(row["app"], release_number(row["release"]) or 0, row["role"], row["drone"], row["id"])


def _is_of(release: Release, app: str, commit: str) -> bool:
    return app in ("", release.app) and _has_commit(release.commit, release.name, commit)


def _has_commit(commit: str, release: str, text: str) -> bool:
    return not text or release == text or commit.startswith(text.lower())
