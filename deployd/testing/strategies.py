"""Hypothesis strategies for the values of the model and for anything that a Command can carry."""

from __future__ import annotations

from typing import Any

from attrs import fields, has, resolve_types
from hypothesis import strategies as st
from twisted.protocols import amp

from deployd.model.revision import Revision
from deployd.wire.codec import Structure
from deployd.wire.documents import Json
from deployd.wire.lookup import RevisionArgument

# AMP values end at 65,535 bytes, and most text is short.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
integers = st.integers(-(2**63), 2**63)
commits = st.text("0123456789abcdef", min_size=40, max_size=40)

documents = st.recursive(
    st.none() | st.booleans() | integers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an attrs class, built from the types of its fields."""
    resolve_types(kind)
    parts = {field.alias or field.name: _of_type(field.type) for field in fields(kind)}
    return st.builds(kind, **parts)


def _of_type(kind: Any) -> st.SearchStrategy[Any]:
    if kind is str:
        return texts
    if kind is int:
        return integers
    if kind is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if isinstance(kind, type) and has(kind):
        return values(kind)
    origin: Any = getattr(kind, "__origin__", None)
    parts: tuple[Any, ...] = getattr(kind, "__args__", ())
    if kind is Any:
        return documents
    if origin is dict:
        return st.dictionaries(*map(_of_type, parts), max_size=3)
    if origin is tuple and len(parts) == 2 and parts[1] is Ellipsis:
        return st.lists(_of_type(parts[0]), max_size=3).map(tuple)
    if parts and type(None) in parts:
        return st.none() | _of_type(next(part for part in parts if part is not type(None)))
    return st.from_type(kind)


def arguments(declared: list[tuple[bytes, amp.Argument]]) -> st.SearchStrategy[dict[str, Any]]:
    """The keyword arguments that fit a Command's ``arguments`` or ``response``."""
    return st.fixed_dictionaries({name.decode(): _of_argument(argument) for name, argument in declared})


def _of_argument(argument: amp.Argument) -> st.SearchStrategy[Any]:
    if isinstance(argument, Structure):
        return _of_type(argument.kind)
    if isinstance(argument, Json):
        return documents
    plain: dict[type, st.SearchStrategy[Any]] = {
        amp.Integer: integers,
        amp.Boolean: st.booleans(),
        amp.Float: st.floats(allow_nan=False),
        amp.Unicode: texts,
        amp.String: st.binary(max_size=64),
        RevisionArgument: _of_type(Revision),
    }
    return plain[type(argument)]
