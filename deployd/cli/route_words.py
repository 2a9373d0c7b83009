"""What a person types about routes, as values. Pure; every word is checked before anybody is asked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from deployd.model.invalid import Invalid
from deployd.model.names import app_name, role_name, shown
from deployd.model.route import MAX_WEIGHT, RouteKey, route_host, route_path

MAX_SHARES = 20
SHORTEST = 1.0
LONGEST = 7 * 24 * 3600.0


def route_key(host: str, path: str) -> RouteKey:
    """Raise Invalid."""
    return RouteKey(route_host(host), route_path(path))


def app_and_role(text: str) -> tuple[str, str]:
    """``team/webapp:http``; raise Invalid."""
    app, colon, role = text.rpartition(":")
    if not colon:
        raise Invalid(f"{shown(text)} names no role: write APP:ROLE, like webapp:http")
    return app_name(app), role_name(role)


def shares(words: Sequence[str]) -> list[tuple[str, int]]:
    """``COMMIT=WEIGHT`` or ``COMMIT``, which has weight 1; raise Invalid."""
    found: dict[str, int] = {}
    for word in words:
        commit, equals, weight = word.rpartition("=")
        if not equals:
            commit, weight = word, "1"
        if not commit:
            raise Invalid(f"{shown(word)} names no commit: write COMMIT=WEIGHT")
        if commit in found:
            raise Invalid(f"{shown(commit)} is given twice; give each commit once, with all its weight")
        found[commit] = _whole(weight, 0, MAX_WEIGHT, f"the weight of {shown(commit)}")
    if len(found) > MAX_SHARES:
        raise Invalid(f"a route has at most {MAX_SHARES} releases")
    if not any(found.values()):
        raise Invalid("no commit has a weight above 0: nobody would be served")
    return list(found.items())


def steps(text: str) -> list[int]:
    """``5,25,100`` as percents that grow up to 100; raise Invalid."""
    found = [_whole(word.strip(), 1, 100, "a step") for word in text.split(",")]
    grows = all(one < other for one, other in pairwise(found))
    if not grows or found[-1] != 100:
        raise Invalid(f"{shown(text)} are no steps: write percents that grow and end with 100, like 5,25,100")
    return found


def between_steps(seconds: float) -> float:
    """Raise Invalid."""
    if not SHORTEST <= seconds <= LONGEST:
        raise Invalid(f"--every {seconds:g}: write from 1 second to {LONGEST:g} (seven days)")
    return seconds


def _whole(text: str, least: int, most: int, what: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if not least <= number <= most:
        raise Invalid(f"{what} is {shown(text)}; write a whole number from {least} to {most}")
    return number
