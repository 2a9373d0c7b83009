"""Rows for tests."""

from __future__ import annotations

from typing import Any

from deployd.model.registration import Registration
from deployd.registry.book import Transaction

COMMIT = "74336bc1db98478e02e69f59e7100895be207389"
OTHER = "40548daf17f7d25ec0f1925b97d24bc05043e4ed"


def row(row_id: str = "http-1", port: int = 20001, **changes: Any) -> Registration:
    plain = {"id": row_id, "namespace": COMMIT, "role": "http", "host": "", "port": port, "app": "webapp"}
    return Registration(**(plain | {"release": "v1"} | changes))


def put(done: Transaction) -> list[str]:
    """The ids that were put, in their order."""
    return [change.row.id for change in done.changes if not change.freed]


def freed(done: Transaction) -> list[str]:
    """The ids that were freed, in their order."""
    return [change.row.id for change in done.changes if change.freed]
