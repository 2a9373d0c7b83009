"""What an instance has printed last, for people whose command has just failed because of it."""

from __future__ import annotations

from deployd.cli.cluster import Cluster, Row
from deployd.errors import DeploydError
from deployd.processes.log_page import unpack_from
from deployd.processes.records import WORDS
from deployd.wire.control import Logs

LINES = 50


async def last_lines(cluster: Cluster, row: Row) -> str:
    """The last lines of the instance of ``row``; "" where its drone cannot tell: its reason is known already."""
    try:
        page = await cluster.call(
            Logs,
            drone=row["drone"],
            app=row["app"],
            releases=[row["release"]],
            role=row["role"],
            after=-1,
            newest=LINES,
            wait=0.0,
        )
    except DeploydError:
        return ""
    its = {position for position, source in enumerate(page["sources"]) if source["id"] == row["id"]}
    printed = (record for position, record in unpack_from(page["data"]) if position in its and record.stream != WORDS)
    text = b"".join(record.data for record in printed).decode(errors="replace")
    return "\n".join(text.splitlines()[-LINES:])
