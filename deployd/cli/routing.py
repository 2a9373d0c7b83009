"""The conversations of `route`, `rollback`, `promote` and their like: say what should be, wait for the routers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.protocols.amp import Command

from deployd.cli.cluster import Cluster
from deployd.cli.following import following
from deployd.cli.rendering import cell
from deployd.cli.route_rows import percents
from deployd.cli.settling import Settled
from deployd.model.route import RouteKey
from deployd.wire.control import Promote, RemoveRoute, RollBack, SetRoute, Steer

DEEDS = {"pause": "is paused", "resume": "goes on", "abort": "is aborted, what was before it is back"}


async def setting(
    cluster: Cluster, key: RouteKey, app: str, role: str, shares: Sequence[tuple[str, int]], **options: bool
) -> Settled:
    """Put a setting in force; raise UnknownApp, UnknownCommit, Refused."""
    pairs = [list(share) for share in shares]
    number = await _number(cluster, SetRoute, key, app=app, role=role, shares=pairs, **options)
    served = percents([(commit, weight) for commit, weight in shares])
    done = f"{key} goes to {app}:{role}, {served} (number {number})"
    return (await following(cluster)).settled(done, _document(key, number=number))


async def removing(cluster: Cluster, key: RouteKey) -> Settled:
    """Raise UnknownRoute."""
    await cluster.call(RemoveRoute, host=key.host, path=key.path)
    return (await following(cluster)).settled(f"{key} has no route any more", _document(key, removed=True))


async def rolling_back(cluster: Cluster, key: RouteKey, to: int) -> Settled:
    """Put entry ``to`` back, or with 0 what was before the newest release; raise UnknownRoute, Refused."""
    answer = await cluster.call(RollBack, host=key.host, path=key.path, to=to)
    number, back_to, put_back = answer["number"], answer["back_to"], answer["setting"]
    shares = [(cell(share.get("release")), int(share.get("weight", 0))) for share in put_back.get("shares", ())]
    where = f"{cell(put_back.get('app'))}:{cell(put_back.get('role'))}"
    done = f"{key} is back at number {back_to}: {where}, {percents(shares)} (number {number})"
    document = _document(key, number=number, back_to=back_to, setting=put_back)
    return (await following(cluster)).settled(done, document)


async def promoting(
    cluster: Cluster, key: RouteKey, commit: str, steps: Sequence[int], every: float, force: bool
) -> Settled:
    """Make the first step; raise UnknownRoute, UnknownCommit, Refused."""
    number = await _number(cluster, Promote, key, commit=commit, steps=list(steps), every=every, force=force)
    shown = ", ".join(f"{step}%" for step in steps)
    done = f"{commit} is on its way to all requests of {key}: {shown}, a step every {every:g} s (number {number})"
    return (await following(cluster)).settled(done, _document(key, number=number, steps=list(steps), every=every))


async def steering(cluster: Cluster, key: RouteKey, deed: str) -> Settled:
    """Pause, resume or abort the promotion of a route; raise UnknownRoute, Refused."""
    number = await _number(cluster, Steer, key, deed=deed)
    done = f"the promotion on {key} {DEEDS[deed]} (number {number})"
    return (await following(cluster)).settled(done, _document(key, number=number))


async def _number(cluster: Cluster, command: type[Command], key: RouteKey, **arguments: Any) -> int:
    answer = await cluster.call(command, host=key.host, path=key.path, **arguments)
    number: int = answer["number"]
    return number


def _document(key: RouteKey, **more: Any) -> dict[str, Any]:
    return {"host": key.host, "path": key.path, **more}
