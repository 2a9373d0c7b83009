"""``stop`` and ``restart``: orders about single instances."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from deployd.errors import Refused, UnknownInstance, UsageError
from deployd.hub.fleet import Fleet
from deployd.hub.ledger import NOTHING, Ledger
from deployd.model.desired import Changes, Desired, KnownDrone, Order
from deployd.model.instance import AssignedInstance, ObservedInstance
from deployd.model.names import shown
from deployd.planning.placement import is_draining, possible_lines

MAX_IDS = 1000
Wanted = tuple[KnownDrone, AssignedInstance]


class Instances:
    """Orders are saved, so they hold over restarts of everything."""

    def __init__(self, ledger: Ledger, fleet: Fleet) -> None:
        self._ledger = ledger
        self._fleet = fleet

    async def stop(self, ids: Sequence[str], who: str) -> None:
        """Order these to stay stopped. Raise UnknownInstance, then none of them is; UsageError, Refused."""

        def decide(desired: Desired) -> Changes:
            wanted = _wanted(desired, checked(ids))
            orders = [self._stopped(desired, id, wanted.get(id)) for id in checked(ids)]
            new = [order for order in orders if desired.orders.get(order.id) != order]
            return self._ordered("stop", who, new) if new else NOTHING

        await self._ledger.change(decide)

    async def restart(self, ids: Sequence[str], who: str) -> dict[str, int]:
        """Order these to start anew; the generation that each then is of. Raise as ``stop``."""
        generations: dict[str, int] = {}

        def decide(desired: Desired) -> Changes:
            orders = []
            wanted = _wanted(desired, checked(ids))
            for id in checked(ids):
                if id not in wanted:
                    raise self._not_wanted(desired, id)
                drone, line = wanted[id]
                if line.once:
                    again = f"`deployctl deploy {line.app} {line.release}`"
                    raise Refused(f"{id} is the release command of {line.app} {line.release}; only {again} runs it")
                if is_draining(desired, drone.description):
                    raise Refused(f"{id} is on {drone.name}, which is being emptied; `deployctl undrain {drone.name}`")
                order = desired.orders.get(id, Order(id, line.app, line.release))
                orders.append(evolve(order, stopped=False, restarts=order.restarts + 1))
                generations[id] = line.generation + 1
            return self._ordered("restart", who, orders)

        await self._ledger.change(decide)
        return generations

    def _ordered(self, what: str, who: str, orders: Sequence[Order]) -> Changes:
        apps = {order.app for order in orders}
        event = self._ledger.event(what, who, min(apps) if len(apps) == 1 else "", " ".join(each.id for each in orders))
        return Changes(orders=tuple(orders), events=(event,))

    def _stopped(self, desired: Desired, id: str, found: Wanted | None) -> Order:
        known = found[1] if found is not None else self._seen(desired, id)
        if known is None:
            raise _unknown(id)
        order = desired.orders.get(id, Order(id, known.app, known.release, orphan=found is None))
        return evolve(order, stopped=True)

    def _seen(self, desired: Desired, id: str) -> ObservedInstance | None:
        reports = (self._fleet.seen(name) for name in desired.drones)
        return next((seen[id] for seen in reports if id in seen), None)

    def _not_wanted(self, desired: Desired, id: str) -> Exception:
        seen = self._seen(desired, id)
        if seen is None:
            return _unknown(id)
        return Refused(f"{id} is of a release that is not deployed; `deployctl deploy {seen.app}` starts one")


def _wanted(desired: Desired, ids: Sequence[str]) -> dict[str, Wanted]:
    """Those of ``ids`` that are wanted, on whatever drone: connected or not, or being emptied."""
    named = set(ids)
    found: dict[str, Wanted] = {}
    for release in desired.wanted:
        for drone in desired.drones.values():
            for line in possible_lines(desired, release, drone.description):
                if line.id in named:
                    found[line.id] = drone, line
    return found


def checked(ids: Sequence[str]) -> list[str]:
    """The ids, each once; raise UsageError."""
    if not 0 < len(ids) <= MAX_IDS:
        raise UsageError(f"from 1 to {MAX_IDS} instances can be named at once")
    return list(dict.fromkeys(ids))


def _unknown(id: str) -> UnknownInstance:
    return UnknownInstance(f"there is no instance {shown(id)}; `deployctl ps` lists them")
