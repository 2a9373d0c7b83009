"""npm's version ranges: which versions a ``ROLE@RANGE`` takes.

docs/registry says where semantic_version.NpmSpec, which decides here, differs from npm itself.
"""

from __future__ import annotations

from functools import lru_cache

from attrs import frozen
from semantic_version import NpmSpec, Version

from deployd.model.invalid import Invalid
from deployd.model.names import shown

MAX_RANGE = 200


@frozen
class VersionRange:
    """A range as npm writes it: ``^1.2``, ``1.x || >=2.5.0 <3``, ``*``."""

    text: str
    _spec: NpmSpec

    def takes(self, version: str) -> bool:
        """Whether the range holds ``version``; what is no semantic version is in no range."""
        parsed = _version(version)
        return parsed is not None and parsed in self._spec


@lru_cache(maxsize=1024)
def version_range(text: str) -> VersionRange:
    """Raise Invalid."""
    if len(text) > MAX_RANGE:
        raise Invalid(f"a version range has at most {MAX_RANGE} characters, this one has {len(text)}")
    try:
        return VersionRange(text, NpmSpec(text))
    except ValueError:
        raise Invalid(f"{shown(text)} is not a version range; write one as npm does, like ^1.2 or >=1.0.0 <2") from None


@lru_cache(maxsize=4096)
def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except ValueError:
        return None
