"""What workers can do: each job takes its arguments apart, calls one function, and puts together what came of it."""

from __future__ import annotations

from pathlib import Path

from attrs import asdict

from deployd.git.bodies import read_limited
from deployd.git.mirror.jobs import MIRROR_JOBS
from deployd.git.packs.consolidating import consolidate
from deployd.git.receiving.quarantine import sweep
from deployd.git.receiving.receipt import Receipt
from deployd.git.receiving.reception import Listener, receive
from deployd.git.receiving.rules import PushRules
from deployd.git.repositories import Repositories
from deployd.git.serving.advertising import advertise
from deployd.git.serving.parcels import Parcel, prepare
from deployd.git.serving.recipes import Recipe
from deployd.git.serving.understanding import understand
from deployd.git.work.messages import Document
from deployd.git.work.tasks import Job, Outcome, Task
from deployd.git.work.values import from_json, receipt_to_json, to_json
from deployd.model.policy import Policy

# Bytes of packs without charts that a small question may have to wait for.
_SOON_CHARTED = 8 << 20


def _advertise(task: Task) -> Outcome:
    """What there is in a repository; of one that is not there yet, nothing."""
    offer = task.offers().now(task.arguments["deployed"]) if task.arguments["repository"] else None
    return {}, advertise(offer, task.arguments["service"], task.arguments["version"])


def _understand(task: Task) -> Outcome:
    """What a fetch asks for; or, as long as ``charted`` is not said, that charts have to be made first."""
    objects = task.objects()
    if not task.arguments["charted"] and objects.uncharted() > _SOON_CHARTED:
        return {"charted": False}, b""
    limit = task.limits().request_bytes
    body = read_limited(task.stream(limit), limit)
    understood = understand(objects, task.offers(), body, task.arguments["version"], task.arguments["deployed"])
    recipe = understood.recipe
    document: Document = {
        "charted": True,
        "recipe": to_json(recipe) if recipe else None,
        "key": recipe.key if recipe else "",
        "quiet": understood.quiet,
        "refusal": understood.refusal,
    }
    return document, understood.reply


def _chart(task: Task) -> Outcome:
    """Make the charts of packs that somebody else put there."""
    task.objects().refresh()
    return {}, b""


def _prepare(task: Task) -> Outcome:
    """Make a pack (Note [Pieces] in deployd.git.web.flights)."""
    recipe = from_json(task.arguments["recipe"], Recipe)
    parcel = prepare(task.objects(), recipe, task.target(), lambda size: task.note({"size": size}))
    pieces, literals = _pieces(parcel)
    return {"pieces": pieces, "remarks": [parcel.remark]}, literals


def _pieces(parcel: Parcel) -> tuple[list[tuple[str | None, int, int]], bytes]:
    if not parcel.pieces:
        return [(None, 0, parcel.size)], b""
    pieces: list[tuple[str | None, int, int]] = []
    literals = b""
    for piece in parcel.pieces:
        if piece.path:
            pieces.append((piece.path, piece.start, piece.end))
        else:
            start = len(literals)
            literals += bytes.fromhex(piece.literal)
            pieces.append(("", start, len(literals)))
    return pieces, literals


def _receive(task: Task) -> Outcome:
    """Take a push; an app that its first push was to create does not stay when it brought nothing."""
    limits, app = task.limits(), task.arguments["app"]
    repositories = Repositories(Path(task.arguments["root"]), limits)
    rules = PushRules(app, from_json(task.arguments["policy"], Policy))
    stream = task.stream(limits.pack_bytes)
    listener = Listener(
        begun=lambda talks: task.note({"talks": talks}), progress=lambda text: task.note({"progress": text})
    )
    created = repositories.create(app)
    receipt = Receipt(b"")
    try:
        receipt = receive(
            task.repository,
            stream,
            limits,
            rules,
            objects=task.objects(),
            listener=listener,
            intent=task.arguments["intent"],
        )
    finally:
        if created and not receipt.updates:
            repositories.discard_empty(app)
    return receipt_to_json(receipt)


def _consolidate(task: Task) -> Outcome:
    """Clear up after pushes whose worker was killed, then merge small packs."""
    sweep(task.repository / "objects")
    return asdict(consolidate(task.objects(), task.limits())), b""


JOBS: dict[str, Job] = {
    "advertise": _advertise,
    "understand": _understand,
    "chart": _chart,
    "prepare": _prepare,
    "receive": _receive,
    "consolidate": _consolidate,
    **MIRROR_JOBS,
}
