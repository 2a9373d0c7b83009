"""The hub's side of ``git fetch`` and ``git clone``: what there is, and packs of it, on dulwich's upload-pack.

dulwich sees the repository through ``_Readable``, which has only the refs that this reader may see, so a want of
anything else is refused. Blocking: the work of a thread, or later of a worker process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from attrs import define, field
from dulwich.errors import GitProtocolError, HangupException, UnexpectedCommandError
from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID
from dulwich.protocol import ReceivableProtocol, capability_agent
from dulwich.refs import DictRefsContainer, Ref
from dulwich.repo import BaseRepo
from dulwich.server import Backend, UploadPackHandler

from deployd.git import pktlines
from deployd.git.kinds import COMMIT
from deployd.git.packs.history import History
from deployd.git.packs.store import Packs
from deployd.git.problems import BadRequest, NotOurs
from deployd.git.receiving.reception import CAPABILITIES
from deployd.git.refs import TAGS, Refs, read_refs

PIECE = 65536
_WANTED = b"refs/wanted/"
UPLOAD, RECEIVE = "git-upload-pack", "git-receive-pack"
_NO_REFS = [(b"capabilities^{}", b"0" * 40)]
_UPLOAD_WORDS = (
    b"multi_ack_detailed multi_ack side-band-64k thin-pack ofs-delta no-progress include-tag shallow no-done filter",
    b"object-format=sha1",
    capability_agent(),
)
_LINE = re.compile(
    rb"(want [0-9a-f]{40}( [^\n]*)?|(have|shallow) [0-9a-f]{40}|deepen [1-9][0-9]{0,9}|filter [!-~]{1,200}|done)\n?"
)


def advertise(repository: Path | None, service: str, deployed: bool = False) -> bytes:
    """The answer to ``info/refs``; ``repository`` None stands for one that the first push will create."""
    greeting = pktlines.line(b"# service=" + service.encode() + b"\n") + pktlines.FLUSH
    refs = read_refs(repository) if repository else Refs()
    if service == RECEIVE:
        return greeting + _lines(sorted(refs.shown(deployed=False).items()) or _NO_REFS, {}, CAPABILITIES)
    shown = sorted(refs.shown(deployed).items())
    words = b" ".join(_UPLOAD_WORDS)
    if refs.head in refs.values:
        # HEAD's symref only: a second one makes git clients before 2.41 spin for ever.
        shown.insert(0, (b"HEAD", refs.values[refs.head]))
        words += b" symref=HEAD:" + refs.head
    return greeting + _lines(shown, refs.peeled, words)


def upload_pack(repository: Path, request: bytes, deployed: bool, write: Callable[[bytes], object]) -> None:
    """Answer one upload-pack request; ``write`` gets pieces of about PIECE bytes and may block.

    Raise BadRequest for what is not git's protocol, NotOurs for a want of what is not offered.
    """
    refs = read_refs(repository)
    wants, offered = _wants(request), set(refs.shown(deployed).values())
    _check(repository, wants - offered, offered)
    output = _Gathered(write)
    with _Readable(repository, refs, wants) as readable:
        protocol = ReceivableProtocol(BytesIO(request).read, output.write)
        try:
            UploadPackHandler(_One(readable), [""], protocol, stateless_rpc=True).handle()
        except (GitProtocolError, HangupException, UnexpectedCommandError) as error:
            raise BadRequest(_sentence(error)) from error
    output.flush()


def _lines(refs: Sequence[tuple[bytes, bytes]], peeled: Mapping[bytes, bytes], words: bytes) -> bytes:
    """The advertised refs as pkt-lines, the first with the capabilities; a tag is followed by what it points at."""
    lines = []
    for name, value in refs:
        lines.append(value + b" " + name)
        if name in peeled:
            lines.append(peeled[name] + b" " + name + b"^{}")
    if lines:
        lines[0] += b"\0" + words
    return b"".join(pktlines.line(line + b"\n") for line in lines) + pktlines.FLUSH


def _wants(request: bytes) -> set[bytes]:
    """The ids that are wanted.

    Every line is held against the grammar before dulwich sees it, since that answers some with a traceback.
    """
    wants: set[bytes] = set()
    stream = BytesIO(request)
    first = True
    while stream.tell() < len(request):
        content = pktlines.read_line(stream)
        if content is None:
            continue
        if not _LINE.fullmatch(content) or (first and not content.startswith(b"want ")):
            raise BadRequest("the request has a line that is not part of a fetch")
        first = False
        if content.startswith(b"want "):
            wants.add(content[5:45])
    return wants


def _check(repository: Path, others: set[bytes], offered: set[bytes]) -> None:
    """Raise NotOurs unless ``others``, wanted though no ref is on them, are in the history of what is ``offered``.

    A push may move a branch between a reader's two requests, who then wants what the branch was on before.
    """
    if not others:
        return
    left = {bytes.fromhex(want.decode()) for want in others}
    with Packs(repository / "objects") as packs:
        history = History(packs)
        if all(packs.kind(want) == COMMIT for want in left):
            tips = {tip for value in offered if (tip := history.commit_at(value)) is not None}
            for commit in history.ancestors(tips):
                left.discard(commit)
                if not left:
                    return
    raise NotOurs(f"{min(left).hex()} is in no branch or tag here, and was not deployed")


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or "the request is not a fetch that this hub understands"


@define
class _Gathered:
    """Makes large pieces of dulwich's many tiny writes, each of which would cost a change of threads."""

    _give: Callable[[bytes], object]
    _parts: list[bytes] = field(init=False, factory=list)
    _size: int = field(init=False, default=0)

    def write(self, data: bytes) -> int:
        self._parts.append(data)
        self._size += len(data)
        if self._size >= PIECE:
            self.flush()
        return len(data)

    def flush(self) -> None:
        if self._parts:
            self._give(b"".join(self._parts))
        self._parts, self._size = [], 0


class _Readable(BaseRepo):
    """A repository of which a reader sees only what it wants, as refs, and the tags that may come along."""

    def __init__(self, repository: Path, refs: Refs, wants: set[bytes]) -> None:
        self._store = DiskObjectStore(str(repository / "objects"), object_format=DEFAULT_OBJECT_FORMAT)
        self._peels = refs.peeled
        self._shown: dict[Ref, ObjectID] = {
            Ref(name): ObjectID(value)
            for name, value in refs.values.items()
            if value in wants or (name in self._peels and name.startswith(TAGS))
        }
        # dulwich takes a want only where a ref is on it.
        self._shown |= {Ref(_WANTED + want): ObjectID(want) for want in wants - set(refs.values.values())}
        super().__init__(self._store, DictRefsContainer({}))
        self.object_format = DEFAULT_OBJECT_FORMAT
        self.repo = self

    def __enter__(self) -> _Readable:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def get_refs(self) -> dict[Ref, ObjectID]:
        return self._shown

    def get_peeled(self, ref: Ref) -> ObjectID:
        return ObjectID(self._peels.get(ref, self._shown[ref]))


class _One(Backend):
    def __init__(self, readable: _Readable) -> None:
        self._readable = readable

    def open_repository(self, path: str) -> Any:
        return self._readable
