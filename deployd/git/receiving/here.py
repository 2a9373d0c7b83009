"""The repository that a pack comes into, as far as checking it goes."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

from deployd.git.packs.objects import Objects


class Here(Protocol):
    """Ids have 20 bytes."""

    def kind(self, object_id: bytes) -> int | None:
        """The kind of an object, or None when it is not here."""
        ...

    def read(self, object_id: bytes) -> tuple[int, bytes]:
        """(kind, content) of an object; raise KeyError when it is not here."""
        ...


@frozen
class Charted:
    """A repository whose packs have charts, as it was when ``objects`` were refreshed."""

    objects: Objects

    def kind(self, object_id: bytes) -> int | None:
        """The kind of an object, or None when it is not here."""
        place = self.objects.place(object_id)
        return None if place is None else self.objects.kind(place)

    def read(self, object_id: bytes) -> tuple[int, bytes]:
        """(kind, content) of an object; raise KeyError when it is not here."""
        place = self.objects.place(object_id)
        if place is None:
            raise KeyError(object_id)
        return self.objects.read(place)
