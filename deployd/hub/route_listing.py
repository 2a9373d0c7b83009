"""Routes and their histories, as the rows that ``deployctl --json`` prints (docs/reference)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from deployd.errors import UnknownRoute
from deployd.hub.fitness import Fitness, RoleOf
from deployd.hub.ledger import Ledger
from deployd.hub.tallies import Tallies, quantile
from deployd.model.desired import Desired
from deployd.model.names import release_number, shown
from deployd.model.route import Entry, Promotion, Route, RouteKey, Setting, route_host, route_path

Row = dict[str, Any]
Rows = Iterator[tuple[str, Row]]


class RouteListing:
    """Rows with the keys from which a next page goes on."""

    def __init__(self, ledger: Ledger, fitness: Fitness, tallies: Tallies) -> None:
        self._ledger = ledger
        self._fitness = fitness
        self._tallies = tallies

    def routes(self, text: str, after: str) -> Rows:
        """All routes, or those of the host, or host and path, ``text``. Raise Invalid, UnknownRoute.

        What a page that goes on ``after`` a key does not need is not made.
        """
        desired = self._ledger.desired
        ready = self._fitness.ready(desired)
        for key in self._keys(desired, text):
            if _key(key) > after:
                yield _key(key), self._row(desired, desired.routes[key], ready)

    def history(self, text: str, after: str) -> Rows:
        """Every setting of those routes, the newest of each last. Raise Invalid, UnknownRoute."""
        desired = self._ledger.desired
        begun = after.rpartition("\0")[0]
        for key in self._keys(desired, text):
            if _key(key) >= begun:
                for entry in desired.routes[key].entries:
                    yield f"{_key(key)}\0{entry.number:09}", _entry_row(desired, key, entry)

    def _keys(self, desired: Desired, text: str) -> list[RouteKey]:
        if not text:
            return sorted(desired.routes, key=_key)
        host, slash, path = text.partition("/")
        asked = RouteKey(route_host(host), route_path(slash + path))
        found = [asked] if slash else sorted((key for key in desired.routes if key.host == asked.host), key=_key)
        if not found or found[0] not in desired.routes:
            raise UnknownRoute(f"there is no route {shown(text)}; `deployctl route show` lists them")
        return found

    def _row(self, desired: Desired, route: Route, ready: Counter[RoleOf]) -> Row:
        row: Row = {"host": route.key.host, "path": route.key.path} | setting_row(desired, route.setting)
        for share in row["shares"]:
            total = self._tallies.total(route.key, share["release"])
            share |= {
                "ready": ready[route.setting.app, share["release"], route.setting.role],
                "requests": total.requests,
                "errors": total.errors,
                "p50": quantile(total, 0.5),
                "p99": quantile(total, 0.99),
            }
        return row | {"number": route.number, "promotion": _promotion_row(route.promotion)}


def setting_row(desired: Desired, setting: Setting) -> Row:
    """A setting, with the commits of its releases."""
    return {
        "app": setting.app,
        "role": setting.role,
        "shares": [
            {
                "release": share.release,
                "commit": _commit(desired, setting.app, share.release),
                "weight": share.weight,
            }
            for share in setting.shares
        ],
        "preview": setting.preview,
        "sticky": setting.sticky,
        "https": setting.https,
    }


def _entry_row(desired: Desired, key: RouteKey, entry: Entry) -> Row:
    return {
        "number": entry.number,
        "when": entry.when,
        "who": entry.who,
        "what": entry.what,
        "back_to": entry.back_to,
        "host": key.host,
        "path": key.path,
    } | setting_row(desired, entry.setting)


def _promotion_row(promotion: Promotion | None) -> Row | None:
    if promotion is None:
        return None
    return {
        "release": promotion.release,
        "steps": list(promotion.steps),
        "step": promotion.step,
        "every": promotion.every,
        "paused": promotion.paused,
    }


def _commit(desired: Desired, app: str, release: str) -> str:
    found = desired.releases.get((app, release_number(release) or 0))
    return "" if found is None else found.commit


def _key(key: RouteKey) -> str:
    return f"{key.host}\0{key.path}"
