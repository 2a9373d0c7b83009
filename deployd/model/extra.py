"""A process that somebody has added to a release: ``deployctl spawn``."""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Extra:
    """``argv`` runs as ``role`` beside what the release has on each of its drones, or on those in ``drones`` (names).

    ``name`` is unique among all extras of the hub; ``number`` is the release's. ``sealed`` is its own environment, as
    in ``Config``; "" for none.
    """

    name: str
    app: str
    number: int
    role: str
    argv: tuple[str, ...]
    port: bool
    drones: frozenset[str] = frozenset()
    sealed: str = field(default="", repr=False)
