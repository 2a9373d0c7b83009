"""A small pack that would inflate to gigabytes is refused at the price of a small one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

_PUSH = """
import resource, sys, zlib
from pathlib import Path
from deployd.git.limits import GitLimits
from tests.git import forge
from tests.git.forge import Hub, ZERO
kind, root = sys.argv[1:]
hub = Hub(Path(root), GitLimits(inflated_bytes=1 << 29))

def raw(data, flush):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(data) + deflate.flush(flush)

MIB = raw(bytes(1 << 20), zlib.Z_FULL_FLUSH)
def zeros(total, head=b""):
    high, low = divmod(zlib.adler32(head), 1 << 16)
    # Each zero leaves the one sum as it is, and adds it to the other.
    check = (high + total * low) % 65521 << 16 | low
    body = raw(head, zlib.Z_FULL_FLUSH) + MIB * (total >> 20) + raw(b"", zlib.Z_FINISH)
    return b"\\x78\\xda" + body + check.to_bytes(4, "big")

GIB = 1 << 30
blob = forge.whole(3, b"x" * 65536)
copy = b"\\xb0\\x00\\x00"  # the whole base of 64 KiB
deltas = forge.varint(65536) + forge.varint(GIB) + copy * (GIB >> 16)
lying = forge.varint(65536) + forge.varint(1000) + copy * (GIB >> 16)
ALL = b"".join(  # of 90 MiB but the last eight bytes
    b"\\xff" + (at << 23).to_bytes(4, "little") + min(1 << 23, (90 << 20) - 8 - (at << 23)).to_bytes(3, "little")
    for at in range(12)
)
def large(number):
    size = 90 << 20
    if not number:
        return forge.varint(65536) + forge.varint(size) + copy * (size >> 16)
    return forge.varint(size) + forge.varint(size) + ALL + bytes([8]) + b"%08d" % number

def chain(length):
    entries = [blob]
    for number in range(length):
        entries.append(forge.ofs_delta(len(entries[-1]), large(number)))
    return forge.pack(entries)

packs = {
    "large deltas": lambda: chain(3),
    "many large deltas": lambda: chain(40),
    "nothing": lambda: forge.pack([blob]),
    "blob": lambda: forge.pack([forge.entry_header(3, GIB) + zeros(GIB)]),
    "blob that lies": lambda: forge.pack([forge.entry_header(3, 1000) + zeros(GIB)]),
    "tree": lambda: forge.pack([forge.entry_header(2, 90 << 20) + zeros(90 << 20)]),
    "delta data": lambda: forge.pack([blob, forge.entry_header(6, GIB) + bytes([1]) + zeros(GIB)]),
    "delta": lambda: forge.pack([blob, forge.ofs_delta(len(blob), deltas)]),
    "delta that lies": lambda: forge.pack([blob, forge.ofs_delta(len(blob), lying)]),
    "many blobs": lambda: forge.pack(
        [forge.entry_header(3, (90 << 20) + 8) + zeros(90 << 20, b"%08d" % n) for n in range(15)]
    ),
}
pack = packs[kind]()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = hub.push([("refs/heads/master", ZERO, "1" * 40)], pack).report
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
left = [p for p in hub.path.rglob("*") if "tmp" in p.name]
print((after - before) // 1024, len(pack), b"ng refs" in report, len(left), report.decode())
"""
_ROOM_MIB = 50


class BombTests(SynchronousTestCase):
    """Each in a process of its own, whose memory can be measured."""

    def push(self, kind: str, room: int = _ROOM_MIB) -> str:
        """Push a bomb; return the report once it cost little, was refused, and left nothing."""
        done = subprocess.run(
            [sys.executable, "-c", _PUSH, kind, str(Path(self.mktemp()).absolute())],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        mebibytes, size, refused, left, report = done.stdout.split(" ", 4)
        self.assertLess(int(mebibytes), room, report)
        self.assertLess(int(size), 6_000_000)
        self.assertEqual((refused, left), ("True", "0"), report)
        return report

    def test_bombs_are_refused_at_little_cost(self) -> None:
        """By the size they declare, or as soon as they pass it."""
        for kind, reason in (
            ("blob", "has 1073741824 bytes"),
            ("blob that lies", "larger than it says"),
            ("tree", "has 94371840 bytes"),
            ("delta data", "has 1073741824 bytes"),
            ("delta", "makes 1073741824 bytes"),
            ("delta that lies", "does not fit"),
            ("many blobs", "inflates to more"),
        ):
            with self.subTest(kind=kind):
                self.assertIn(reason, self.push(kind))

    def test_a_chain_of_large_blobs_is_made_in_files(self) -> None:
        """Of which what was read last is in memory; a longer one is refused by what it would cost."""
        self.assertIn("not sent", self.push("large deltas", 2 * 90 + 10))
        self.assertIn("inflates to more", self.push("many large deltas"))

    def test_an_ordinary_pack_is_measured_the_same_way(self) -> None:
        """So that the test above can fail."""
        self.assertIn("not sent", self.push("nothing"))
