"""The rows behind ``deployctl ports``, and their two shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from deployd.cli.cluster import Cluster
from deployd.cli.rendering import Table, short, table
from deployd.client.reader import list_rows
from deployd.errors import UsageError
from deployd.model.address import Address
from deployd.model.names import app_name, release_number, role_name

Row = Mapping[str, Any]

_PREFIX = re.compile(r"[0-9a-f]{4,40}")
LONG = ("id", "app", "release", "drone", "version", "meta", "owner", "revision")


@frozen
class PortFilter:
    """What the registry is asked for; ``name`` is a branch or tag that the hub has to resolve first."""

    app: str = ""
    namespace: str = ""
    release: str = ""
    role: str = ""
    name: str = ""

    @classmethod
    def parse(cls, app: str | None, commit: str | None, role: str | None) -> PortFilter:
        """Raise Invalid, UsageError."""
        app = app_name(app) if app is not None else ""
        role = role_name(role) if role is not None else ""
        if commit is None:
            return cls(app, role=role)
        if _PREFIX.fullmatch(commit):
            return cls(app, namespace=commit, role=role)
        if not app:
            raise UsageError(f"{commit!r} means something only within an app: deployctl ports APP --commit {commit}")
        if release_number(commit) is not None:
            return cls(app, release=commit, role=role)
        return cls(app, role=role, name=commit)


async def port_rows(cluster: Cluster, wanted: PortFilter) -> list[Row]:
    """All rows that match; raise UsageError for a prefix that means several commits."""
    namespace = wanted.namespace
    if wanted.name:
        releases = await cluster.rows("releases", app=wanted.app, commit=wanted.name)
        if not releases:
            return []
        namespace = str(releases[0]["commit"])
    rows = await list_rows(
        await cluster.registry(), namespace=namespace, app=wanted.app, release=wanted.release, role=wanted.role
    )
    if namespace and len({row["namespace"] for row in rows}) > 1:
        raise UsageError(f"{namespace!r} begins several commits; write more of it")
    return sorted(rows, key=lambda row: (row["namespace"], row["role"], row["host"], row["port"]))


def port_document(rows: Iterable[Row], long: bool) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """``{COMMIT: {ROLE: [{"host": H, "port": N}]}}``; with ``long`` each row's other keys too. ``rows`` are sorted."""
    document: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        more = {key: row.get(key) for key in LONG} if long else {}
        line = {"host": row["host"], "port": row["port"], **more}
        document.setdefault(row["namespace"], {}).setdefault(row["role"], []).append(line)
    return document


def port_table(rows: Iterable[Row], long: bool) -> Table:
    return table(
        rows,
        ("commit", lambda row: short(row["namespace"])),
        "app",
        "release",
        "role",
        ("address", lambda row: Address(str(row["host"]), int(row["port"]))),
        "drone",
        *(("id", "version", "meta", "owner", "revision") if long else ()),
    )
