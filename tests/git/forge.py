"""Makes objects, packs and pushes by hand, right ones and wrong ones."""

from __future__ import annotations

import hashlib
import io
import zlib
from pathlib import Path

from attrs import Factory, define

from deployd.git import pktlines
from deployd.git.kinds import BLOB, COMMIT, NAMES, OFS_DELTA, REF_DELTA, TAG, TREE
from deployd.git.limits import GitLimits
from deployd.git.receiving.receipt import Receipt
from deployd.git.receiving.reception import receive
from deployd.git.repositories import Repositories

ZERO = "0" * 40
WHO = b"A <a@example.org> 1700000000 +0100"


def object_id(kind: int, content: bytes) -> str:
    """The hex id of an object."""
    return hashlib.sha1(b"%s %d\0" % (NAMES[kind], len(content)) + content).hexdigest()


def entry_header(kind: int, size: int) -> bytes:
    """A pack entry's header."""
    byte, size = (kind << 4) | (size & 15), size >> 4
    out = bytearray()
    while size:
        out.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    out.append(byte)
    return bytes(out)


def varint(value: int) -> bytes:
    """A size in a delta's header."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def whole(kind: int, content: bytes, size: int | None = None) -> bytes:
    """A pack entry of an object; ``size`` lies about its length."""
    return entry_header(kind, len(content) if size is None else size) + zlib.compress(content)


def ref_delta(base: str, delta: bytes) -> bytes:
    """A pack entry of a delta against the object ``base``."""
    return entry_header(REF_DELTA, len(delta)) + bytes.fromhex(base) + zlib.compress(delta)


def ofs_delta(distance: int, delta: bytes) -> bytes:
    """A pack entry of a delta against the entry ``distance`` bytes before it."""
    out = [distance & 0x7F]
    while distance := distance >> 7:
        distance -= 1
        out.append(0x80 | (distance & 0x7F))
    return entry_header(OFS_DELTA, len(delta)) + bytes(reversed(out)) + zlib.compress(delta)


def delta(base: bytes, target: bytes) -> bytes:
    """A delta that makes ``target``; what both begin with is copied, 60,000 bytes at most."""
    ends = (at for at, pair in enumerate(zip(base, target, strict=False)) if pair[0] != pair[1])
    common = min(next(ends, len(base)), len(target), 60_000)
    out = varint(len(base)) + varint(len(target)) + (b"\xb0" + common.to_bytes(2, "little") if common else b"")
    for start in range(common, len(target), 127):
        piece = target[start : start + 127]
        out += bytes([len(piece)]) + piece
    return out


def append_delta(base: bytes, more: bytes) -> bytes:
    """A delta that makes ``base`` + ``more`` (both short)."""
    return delta(base, base + more)


def pack(entries: list[bytes], count: int | None = None) -> bytes:
    """A pack file; ``count`` lies about the number of its entries."""
    body = b"PACK" + (2).to_bytes(4, "big") + (len(entries) if count is None else count).to_bytes(4, "big")
    body += b"".join(entries)
    return body + hashlib.sha1(body).digest()


def push(
    commands: list[tuple[str | bytes, str, str]],
    pack_bytes: bytes = b"",
    caps: bytes = b"report-status",
    options: tuple[bytes, ...] | None = None,
) -> bytes:
    """A push request: (ref, old, new) lines, options if ``caps`` say so, then a pack."""
    lines = []
    for number, (name, old, new) in enumerate(commands):
        raw = name if isinstance(name, bytes) else name.encode()
        lines.append(pktlines.line(f"{old} {new} ".encode() + raw + (b"\0" + caps if number == 0 else b"")))
    words = b"" if options is None else b"".join(map(pktlines.line, options)) + pktlines.FLUSH
    return b"".join(lines) + pktlines.FLUSH + words + pack_bytes


@define
class Objects:
    """Collects objects for one pack. The methods return hex ids."""

    entries: list[bytes] = Factory(list)

    def add(self, kind: int, content: bytes) -> str:
        entry = whole(kind, content)
        if entry not in self.entries:
            self.entries.append(entry)
        return object_id(kind, content)

    def blob(self, content: bytes = b"hello\n") -> str:
        return self.add(BLOB, content)

    def tree(self, *items: tuple[str, bytes, str]) -> str:
        """``items`` are (mode, name, hex id), written in the order given."""
        return self.add(TREE, b"".join(f"{m} ".encode() + n + b"\0" + bytes.fromhex(i) for m, n, i in items))

    def commit(self, tree: str | None = None, *parents: str, message: bytes = b"m") -> str:
        tree = tree or self.tree(("100644", b"file.txt", self.blob()))
        lines = [b"tree " + tree.encode(), *(b"parent " + parent.encode() for parent in parents)]
        lines += [b"author " + WHO, b"committer " + WHO, b"", message]
        return self.add(COMMIT, b"\n".join(lines))

    def tag(self, target: str, kind: str = "commit") -> str:
        return self.add(TAG, f"object {target}\ntype {kind}\ntag v\ntagger ".encode() + WHO + b"\n\nm\n")

    def pack(self) -> bytes:
        return pack(self.entries)


@define(slots=False)
class Hub:
    """One app, ``webapp``, in a fresh directory."""

    root: Path
    limits: GitLimits = Factory(GitLimits)

    def __attrs_post_init__(self) -> None:
        self.repositories = Repositories(self.root, self.limits)
        self.repositories.clean()
        self.repositories.create("webapp")
        self.path = self.repositories.path("webapp")

    def push(
        self, commands: list[tuple[str | bytes, str, str]], pack_bytes: bytes = b"", caps: bytes = b"report-status"
    ) -> Receipt:
        return receive(self.path, io.BytesIO(push(commands, pack_bytes, caps)), self.limits)

    def pushed(self, ref: str = "refs/heads/master", objects: Objects | None = None, *parents: str) -> str:
        """Push one good commit and return it."""
        objects = objects or Objects()
        tip = objects.commit(None, *parents)
        old = parents[0] if parents else ZERO
        receipt = self.push([(ref, old, tip)], objects.pack())
        assert f"ok {ref}".encode() in receipt.report, receipt.report
        return tip

    def files(self) -> set[str]:
        """Every file of the repository, to see that nothing was left."""
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*")} - {"deployd-lock"}
