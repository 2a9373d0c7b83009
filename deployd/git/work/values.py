"""The values of git's conversations between processes as JSON; bytes are hex digits, and long ones go beside it."""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import astuple, evolve
from cattrs import Converter

from deployd.git.receiving.receipt import Receipt, RefUpdate
from deployd.git.work.messages import Document

T = TypeVar("T")
_converter = Converter()
_converter.register_unstructure_hook(bytes, bytes.hex)
_converter.register_structure_hook(bytes, lambda text, _: bytes.fromhex(text))


def to_json(value: Any) -> Document:
    """An attrs value as what ``json`` can write."""
    document: Document = _converter.unstructure(value)
    return document


def from_json(document: Document, kind: type[T]) -> T:
    """The value that ``to_json`` made ``document`` from."""
    return _converter.structure(document, kind)


def receipt_to_json(receipt: Receipt) -> tuple[Document, bytes]:
    """A receipt, and its report beside it. Its updates, which may be many, are rows."""
    document = to_json(evolve(receipt, report=b"", updates=[]))
    return {**document, "updates": [astuple(update) for update in receipt.updates]}, receipt.report


def receipt_from_json(document: Document, report: bytes) -> Receipt:
    """The receipt that ``receipt_to_json`` took apart."""
    updates = [RefUpdate(*row) for row in document["updates"]]
    return evolve(from_json({**document, "updates": []}, Receipt), report=report, updates=updates)
