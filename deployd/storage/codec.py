"""The model's values as JSON text in a row of a table."""

from __future__ import annotations

from typing import Any

from cattrs.preconf.json import make_converter

_converter = make_converter()


def text_of(value: Any, kind: Any = None) -> str:
    """``value`` as text; ``kind`` is its type where the value does not tell (a union, a tuple)."""
    return _converter.dumps(value, unstructure_as=kind or type(value), ensure_ascii=True)


def value_of(text: str, kind: Any) -> Any:
    """What ``text_of`` made ``text`` from; raise an exception of any kind for anything else."""
    return _converter.loads(text, kind)
