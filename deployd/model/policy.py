"""What an app's owner decided about it: ``deployctl app set APP KEY=VALUE``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, frozen

from deployd.model.branches import ALL, OFF, branch, patterns
from deployd.model.invalid import Invalid
from deployd.model.names import shown

MAX_KEEP = 1000
ON = "on"
LONGEST = 10 * 365 * 24 * 3600.0

_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d|w)?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@frozen
class Policy:
    """``keep`` and ``keep_for`` (seconds) are how many good releases, and how young ones, ``retire --unused`` leaves.

    ``drain`` (seconds) is how long requests under way may hold up a planned stop. ``allow_force`` and ``allow_delete``
    (deployd.model.branches) say which branches a push may rewrite and delete; what lands on ``deploy_branch`` is
    deployed ("": on none). ``public``: its repository may be read without the secret. ``default_branch``: what a
    clone checks out ("": the branch that came first).
    """

    keep: int = 1
    keep_for: float = 0.0
    drain: float = 30.0
    allow_force: str = OFF
    allow_delete: str = ALL
    deploy_branch: str = ""
    public: bool = False
    default_branch: str = ""

    def with_values(self, values: Mapping[str, str]) -> Policy:
        """This policy with ``{KEY: text}`` set, "" meaning the default; raise Invalid."""
        changed = self
        for key, text in values.items():
            if key not in _KEYS:
                raise Invalid(f"{shown(key)} is no setting of an app; there are {', '.join(_KEYS)}")
            name, read = _KEYS[key]
            value = read(key, text) if text else getattr(Policy(), name)
            changed = evolve(changed, **{name: value})
        return changed

    def values(self) -> dict[str, str]:
        """Every setting as it is written."""
        return {
            "keep": str(self.keep),
            "keep-for": f"{self.keep_for:g}s",
            "drain": f"{self.drain:g}s",
            "allow-force": self.allow_force,
            "allow-delete": self.allow_delete,
            "deploy-branch": self.deploy_branch,
            "public": ON if self.public else OFF,
            "default-branch": self.default_branch,
        }


@frozen
class AppPolicy:
    app: str
    policy: Policy


def duration(key: str, text: str) -> float:
    """``90``, ``90s``, ``5m``, ``12h``, ``7d``, ``2w`` as seconds; raise Invalid."""
    match = _DURATION.fullmatch(text)
    seconds = int(match.group(1)) * _UNITS[match.group(2) or "s"] if match else LONGEST + 1
    if seconds > LONGEST:
        raise Invalid(f"{key}={shown(text)} is not a time: write a number with s, m, h, d or w, like {key}=7d")
    return float(seconds)


def _count(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6) or int(text) > MAX_KEEP:
        raise Invalid(f"{key}={shown(text)} is not a number from 0 to {MAX_KEEP}")
    return int(text)


def _switch(key: str, text: str) -> bool:
    if text not in (ON, OFF):
        raise Invalid(f"{key}={shown(text)} is neither {ON} nor {OFF}")
    return text == ON


_KEYS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "keep": ("keep", _count),
    "keep-for": ("keep_for", duration),
    "drain": ("drain", duration),
    "allow-force": ("allow_force", patterns),
    "allow-delete": ("allow_delete", patterns),
    "deploy-branch": ("deploy_branch", branch),
    "public": ("public", _switch),
    "default-branch": ("default_branch", branch),
}
