"""Rows of the port table as JSON documents, and back; imports nothing that deployctl would have to wait for.

Note [Rows by hand]
~~~~~~~~~~~~~~~~~~~
A registry takes tens of thousands of rows a second, so what cattrs would do with them field by field is written out
here. A test holds it against cattrs.
"""

from __future__ import annotations

from typing import Any

from deployd.errors import Malformed
from deployd.model.registration import Registration


def document(row: Registration) -> dict[str, Any]:
    """The row as the wire has it, and readers."""
    return {
        "id": row.id,
        "namespace": row.namespace,
        "app": row.app,
        "release": row.release,
        "role": row.role,
        "version": row.version,
        "host": row.host,
        "port": row.port,
        "drone": row.drone,
        "meta": row.meta,
        "owner": row.owner,
        "revision": row.revision,
    }


def registration(said: Any) -> Registration:
    """The row out of its document, which may have more in it; raise Malformed."""
    if type(said) is not dict:
        raise Malformed("a row is not an object")
    try:
        row = Registration(
            said["id"],
            said["namespace"],
            said["role"],
            said["host"],
            said["port"],
            said.get("app", ""),
            said.get("release", ""),
            said.get("drone", ""),
            said.get("version", ""),
            said.get("meta", {}),
            said.get("owner", ""),
            said.get("revision", 0),
        )
    except KeyError as missing:
        raise Malformed(f"a row has no {missing}") from None
    is_text = (
        type(row.id)
        is type(row.namespace)
        is type(row.role)
        is type(row.host)
        is type(row.app)
        is type(row.release)
        is type(row.drone)
        is type(row.version)
        is type(row.owner)
        is str
    )
    if not is_text or type(row.port) is not int or type(row.revision) is not int or type(row.meta) is not dict:
        raise Malformed("something in a row is of another type than the protocol asks for")
    return row
