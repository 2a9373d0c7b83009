"""The table as a status page shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployd.model.revision import Revision
from deployd.router.pools import Pool
from deployd.router.target import Target

if TYPE_CHECKING:
    from deployd.router.table import Table


def document(table: Table, now: float) -> dict[str, Any]:
    routes = table.hosts.routes
    return {
        "table": _revision(table.table),
        "registry": _revision(table.registry),
        "routes": [_route(table, key) for key in sorted(routes)],
        "pools": [
            _pool(pool, now) for pool in sorted(table.pools, key=lambda each: (each.app, each.release, each.role))
        ],
        "leaving": sorted(table.leaving),
        "retiring": [{"app": key.app, "release": key.release} for key in sorted(table.retiring)],
        "lingering": [_target(target, now) for target in table.lingering],
        "refused": [
            {"id": row.id, "app": row.app, "release": row.release, "host": row.host, "port": row.port, "why": why}
            for row, why in table.rows.refused.values()
        ],
        "unconfirmed": len(table.rows.unconfirmed),
    }


def _revision(revision: Revision) -> dict[str, Any]:
    return {"epoch": revision.epoch, "number": revision.number}


def _route(table: Table, key: Any) -> dict[str, Any]:
    route = table.hosts.routes[key]
    setting = route.line.setting
    total = sum(share.weight for share in setting.shares) or 1
    return {
        "host": key.host,
        "path": key.path,
        "app": setting.app,
        "role": setting.role,
        "preview": setting.preview,
        "sticky": setting.sticky,
        "https": setting.https,
        "shares": [
            {
                "release": share.release,
                "weight": share.weight,
                "percent": round(100 * share.weight / total, 2),
                "targets": len(pool.targets),
            }
            for share, pool in zip(setting.shares, route.pools, strict=True)
        ],
    }


def _pool(pool: Pool, now: float) -> dict[str, Any]:
    return {
        "app": pool.app,
        "release": pool.release,
        "role": pool.role,
        "targets": [_target(target, now) for target in sorted(pool, key=lambda each: each.id)],
    }


def _target(target: Target, now: float) -> dict[str, Any]:
    return {
        "id": target.id,
        "commit": target.commit,
        "host": target.host,
        "port": target.port,
        "in_flight": target.in_flight,
        "gone": target.gone,
        "failures": target.failures,
        "ejected": bool(target.failures) and now < target.ejected_until,
    }
