"""A release on its way to all requests of a route: which shares it has at each step."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from deployd.model.invalid import Invalid
from deployd.model.route import Promotion, Setting, Share

WHOLE = 100
SHORTEST = 1.0
LONGEST = 7 * 24 * 3600.0
_FINE = 100
"""Parts of a percent: where the shares of the others are no whole percents, weights are of 10,000."""


@frozen
class Step:
    """What is in force with a step made; ``promotion`` is None once that was the last."""

    setting: Setting
    promotion: Promotion | None


def check_steps(steps: Sequence[object], every: float) -> tuple[int, ...]:
    """The percents of a promotion; raise Invalid."""
    numbers = tuple(step for step in steps if type(step) is int)
    if len(numbers) != len(steps) or not numbers or numbers[-1] != WHOLE:
        raise Invalid("the steps are whole percents, and the last one is 100: write them like 5,25,100")
    if any(after <= before for before, after in zip((0, *numbers), numbers, strict=False)):
        raise Invalid("every step is more than the one before it, from 1 to 100: write them like 5,25,100")
    if not SHORTEST <= every <= LONGEST:
        raise Invalid("the time between two steps is from one second to seven days")
    return numbers


def begun(base: Setting, release: str, steps: tuple[int, ...], every: float) -> Step:
    """The first step of a promotion from ``base``: the first that gives ``release`` more than it has.

    Raise Invalid where it has everything.
    """
    total = sum(share.weight for share in base.shares)
    has = sum(share.weight for share in base.shares if share.release == release)
    if has == total:
        raise Invalid(f"{release} gets all requests already")
    larger = tuple(step for step in steps if step * total > has * WHOLE)
    return advanced(Promotion(release, larger, every, 0, base))


def advanced(promotion: Promotion) -> Step:
    """The next step of ``promotion``, which has one left."""
    percent = promotion.steps[promotion.step]
    setting = evolve(promotion.base, shares=shares_at(promotion.base, promotion.release, percent))
    made = evolve(promotion, step=promotion.step + 1)
    return Step(setting, None if percent >= WHOLE else made)


def shares_at(base: Setting, release: str, percent: int) -> tuple[Share, ...]:
    """``percent`` for ``release``, the rest for what ``base`` gives weight, in proportion; none of it becomes zero.

    What has no weight in ``base`` has none here. At 100 percent nothing else keeps a weight.
    """
    others = [share for share in base.shares if share.release != release and share.weight > 0]
    idle = tuple(share for share in base.shares if share.release != release and share.weight == 0)
    if percent >= WHOLE or not others:
        return (*idle, Share(release, 1))
    parts = _split((WHOLE - percent) * _FINE, [share.weight for share in others])
    weights = [*parts, percent * _FINE]
    if all(weight % _FINE == 0 for weight in weights):
        weights = [weight // _FINE for weight in weights]
    names = [*(share.release for share in others), release]
    return (*(Share(name, weight) for name, weight in zip(names, weights, strict=True)), *idle)


def _split(total: int, weights: list[int]) -> list[int]:
    """``total`` in whole parts, in proportion to ``weights`` by their largest remainders, each at least 1."""
    whole = sum(weights)
    parts = [max(1, total * weight // whole) for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda n: (-(total * weights[n] % whole), n))
    for n in by_remainder[: max(0, total - sum(parts))]:
        parts[n] += 1
    while sum(parts) > total:
        parts[parts.index(max(parts))] -= 1
    return parts
