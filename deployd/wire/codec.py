"""The model's values as AMP arguments: JSON, checked against their classes as it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_origin

from attrs import AttrsInstance
from cattrs import Converter
from twisted.protocols import amp

from deployd.errors import Malformed
from deployd.model.registration import Registration
from deployd.wire.documents import dump, load
from deployd.wire.rows import document, registration

# Nobody is told which of a value's fields was wrong.
_converter = Converter(forbid_extra_keys=False, prefer_attrib_converters=False, detailed_validation=False)


def _strict(kind: type) -> None:
    """Refuse a wrong JSON type instead of converting it: ``int("7")`` would hide a peer's mistake."""

    def check(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    _converter.register_structure_hook(kind, check)


for _kind in (str, int, bool):
    _strict(_kind)


def _is_tuple(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is tuple


@_converter.register_structure_hook_factory(_is_tuple)
def _tuple_from_list(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """A tuple of the model is a JSON list; cattrs would take any iterable, an object's keys too."""
    (inner, _) = get_args(kind)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(f"expected a list, got {type(value).__name__}")
        hook = converter.get_structure_hook(inner)
        return tuple([hook(item, inner) for item in value])

    return structure


# Note [Rows by hand]
_converter.register_structure_hook(Registration, lambda value, _: registration(value))
_converter.register_unstructure_hook(Registration, document)


def to_json(value: Any) -> Any:
    """An attrs value (or a container of them) as what ``json`` can write."""
    return _converter.unstructure(value)


def from_json(value: Any, kind: Any) -> Any:
    """The value of type ``kind`` that ``to_json`` made ``value`` from; raise Malformed."""
    try:
        return _converter.structure(value, kind)
    except Exception as error:  # cattrs raises groups of whatever a class's own hooks raise
        raise Malformed(f"not a {getattr(kind, '__name__', kind)} as the protocol asks for") from error


class Structure(amp.Argument):
    """One value of ``kind``: an attrs class of the model, or e.g. ``tuple[Registration, ...]``."""

    def __init__(self, kind: type[AttrsInstance] | Any, optional: bool = False) -> None:
        super().__init__(optional)
        self.kind = kind

    def toString(self, inObject: Any) -> bytes:
        return dump(_converter.unstructure(inObject, unstructure_as=self.kind))

    def fromString(self, inString: bytes) -> Any:
        return from_json(load(inString), self.kind)


class Written(Structure):
    """As Structure; whoever sends it may have written it as JSON already."""

    def toString(self, inObject: Any) -> bytes:
        return inObject if isinstance(inObject, bytes) else super().toString(inObject)


class LongStructure(Structure):
    """A Structure that may be longer than one AMP value; the rest of it goes into values called NAME.1, NAME.2, ..."""

    def toBox(self, name: bytes, strings: Any, objects: Any, proto: Any) -> None:
        super().toBox(name, strings, objects, proto)
        whole = strings[name]
        starts = range(0, len(whole), amp.MAX_VALUE_LENGTH)
        parts = {_part(name, number): whole[at : at + amp.MAX_VALUE_LENGTH] for number, at in enumerate(starts)}
        strings.update(parts)

    def fromBox(self, name: bytes, strings: Any, objects: Any, proto: Any) -> None:
        whole, number = strings.pop(name), 1
        while (more := strings.pop(_part(name, number), None)) is not None:
            whole, number = whole + more, number + 1
        super().fromBox(name, {name: whole}, objects, proto)


def _part(name: bytes, number: int) -> bytes:
    return b"%b.%d" % (name, number) if number else name
