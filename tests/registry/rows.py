"""Rows for tests."""

from __future__ import annotations

from typing import Any

from deployd.model.registration import Registration

COMMIT = "74336bc1db98478e02e69f59e7100895be207389"
OTHER = "40548daf17f7d25ec0f1925b97d24bc05043e4ed"


def row(row_id: str = "http-1", port: int = 20001, **changes: Any) -> Registration:
    plain = {"id": row_id, "namespace": COMMIT, "role": "http", "host": "", "port": port, "app": "webapp"}
    return Registration(**(plain | {"release": "v1"} | changes))
