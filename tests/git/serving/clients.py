"""A reader of a repository as plain as can be: it says what it has, takes what it gets, and believes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import Factory, define, field

from deployd.git import pktlines
from deployd.git.kinds import COMMIT, TAG, TREE
from deployd.git.packs.objects import Objects
from deployd.git.pktlines import Mark
from deployd.git.serving.offers import Offers
from deployd.git.serving.parcels import Parcel, prepare
from deployd.git.serving.understanding import Understood, understand
from tests.git.packs.histories import History, entries
from tests.git.packs.packed import Stored, read_pack


@define(eq=False)
class Server:
    """What a worker keeps of a repository; ``target`` is a file for packs."""

    path: Path
    target: Path
    objects: Objects = field(init=False)
    offers: Offers = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.objects, self.offers = Objects(self.path), Offers(self.path)

    def set_refs(self, refs: Mapping[str, str], made: History) -> None:
        """Write all refs anew, with what tags stand for."""
        lines = ["# pack-refs with: peeled fully-peeled sorted "]
        for name, value in sorted(refs.items()):
            lines.append(f"{value} {name}")
            if made.objects[value][0] == TAG:
                while made.objects[value][0] == TAG:
                    value = made.objects[value][1][7:47].decode()
                lines.append(f"^{value}")
        new = self.path / "packed-refs.new"
        new.write_text("\n".join(lines) + "\n")
        new.rename(self.path / "packed-refs")

    def understand(self, body: bytes, version: int = 2, deployed: bool = False) -> Understood:
        return understand(self.objects, self.offers, body, version, deployed)

    def ask(self, *arguments: str, deployed: bool = False) -> Understood:
        """A fetch of version 2."""
        return self.understand(command("fetch", *arguments), deployed=deployed)

    def parcel(self, understood: Understood) -> tuple[Parcel, bytes]:
        """The pack that follows, and its bytes."""
        assert understood.recipe is not None
        parcel = prepare(self.objects, understood.recipe, self.target, lambda _: None)
        if not parcel.pieces:
            pack = self.target.read_bytes()
        else:
            pack = b"".join(
                Path(piece.path).read_bytes()[piece.start : piece.end] if piece.path else bytes.fromhex(piece.literal)
                for piece in parcel.pieces
            )
        assert len(pack) == parcel.size
        return parcel, pack


def lines(*words: str) -> bytes:
    """Words as pkt-lines; "" is a flush."""
    return b"".join(pktlines.line(word.encode() + b"\n") if word else pktlines.FLUSH for word in words)


def command(name: str, *arguments: str) -> bytes:
    """A request of version 2."""
    return lines(f"command={name}", "agent=git/2", "object-format=sha1") + b"0001" + lines(*arguments, "")


def told(reply: bytes) -> list[str]:
    """The lines of an answer; "" for a flush or delimiter."""
    return ["" if isinstance(line, Mark) else line.decode() for line in pktlines.read_lines(reply)]


@define
class Client:
    """``shallow``: the commits whose parents it knows that it has not."""

    objects: Stored = Factory(dict)
    shallow: set[str] = Factory(set)

    def fetch(self, server: Server, wants: Iterable[str], *options: str, version: int = 2) -> Stored:
        """One whole fetch; return what came. Fails unless the pack is right in itself."""
        haves = [f"have {name}" for name, (kind, _) in self.objects.items() if kind == COMMIT]
        shallow = [f"shallow {name}" for name in sorted(self.shallow)]
        wanted = [f"want {want}" for want in wants]
        if version == 2:
            body = command("fetch", "thin-pack", "ofs-delta", *wanted, *shallow, *options, *haves, "done")
        else:
            wanted[0] += " side-band-64k thin-pack ofs-delta multi_ack_detailed no-done" + "".join(
                f" {option}" for option in options if option in ("deepen-relative", "include-tag")
            )
            deepening = [option for option in options if option.startswith("deepen") and " " in option]
            body = lines(*wanted, *shallow, *deepening, "", *haves, "done")
        understood = server.understand(body, version)
        assert not understood.refusal, understood.refusal
        for line in told(understood.reply):
            if line.startswith("shallow "):
                self.shallow.add(line[8:])
            elif line.startswith("unshallow "):
                self.shallow.discard(line[10:])
        parcel, pack = server.parcel(understood)
        came = read_pack(pack, self.objects)
        assert parcel.objects >= len(came)
        self.objects |= came
        return came

    def check(self, tips: Iterable[str]) -> None:
        """Fails unless everything that ``tips`` need is here, but for what is before a shallow commit."""
        waiting, known = list(tips), set[str]()
        while waiting:
            name = waiting.pop()
            if name in known:
                continue
            known.add(name)
            kind, content = self.objects[name]
            if kind == COMMIT:
                head = content.split(b"\n\n")[0].decode().split("\n")
                waiting.append(head[0][5:])
                if name not in self.shallow:
                    waiting += [line[7:] for line in head if line.startswith("parent ")]
            elif kind == TAG:
                waiting.append(content[7:47].decode())
            elif kind == TREE:
                waiting += entries(content)
