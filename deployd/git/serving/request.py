"""What a reader asks for in one request, in protocol version 0 (and 1, which is the same here) or in version 2.

Every line is held against the grammar, so that nothing behind this file meets what git would not say. Ids have 20
bytes. A request is one round: over HTTP a client says again what it has said before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum

from attrs import Factory, define, frozen

from deployd.git.pktlines import Mark, read_lines
from deployd.git.problems import BadRequest

INFINITE_DEPTH = 0x7FFFFFFF
_NOT_A_FETCH = "the request has a line that is not part of a fetch"
_LINE = re.compile(
    rb"(?:(?P<word>want|have|shallow) (?P<id>[0-9a-f]{40})"
    rb"|(?P<bound>deepen|deepen-since) (?P<number>[0-9]{1,18})"
    rb"|deepen-not (?P<ref>[^\0\n ]{1,1000})"
    rb"|filter (?P<filter>[!-~]{1,200}))"
)
_FIRST = re.compile(rb"(want [0-9a-f]{40})(?: ([ -~]*))?")
_NEEDS = (b"want", b"shallow", b"deepen", b"filter")
_OPTIONS = frozenset({b"thin-pack", b"ofs-delta", b"no-progress", b"include-tag", b"deepen-relative"})
_ARGUMENTS = _OPTIONS | {b"done", b"wait-for-done"}
_KEY = re.compile(rb"(?:agent=|command=)[!-~]{1,1000}|object-format=sha1")


class Acks(Enum):
    """How a client of version 0 wants to hear what it has in common with us."""

    ONE = b""
    MULTI = b"multi_ack"
    DETAILED = b"multi_ack_detailed"


@frozen
class FetchRequest:
    """``depth`` 0, ``since`` None and no ``excluded`` refs: history is not cut; ``shallow``: where the reader's is.

    ``filter`` is git's word for what is left out; ``options`` are its other words, version 0's capabilities and
    version 2's arguments alike. ``asks`` is false when a reader of version 0 only wants to know where history will be
    cut, and comes again.
    """

    wants: tuple[bytes, ...] = ()
    haves: tuple[bytes, ...] = ()
    shallow: frozenset[bytes] = frozenset()
    depth: int = 0
    since: int | None = None
    excluded: tuple[bytes, ...] = ()
    filter: str = ""
    options: frozenset[bytes] = frozenset()
    done: bool = False
    asks: bool = True

    @property
    def acks(self) -> Acks:
        """The best way of acknowledging that this reader of version 0 knows."""
        return next((way for way in (Acks.DETAILED, Acks.MULTI) if way.value in self.options), Acks.ONE)

    @property
    def deepens(self) -> bool:
        """Whether the reader says where history should be cut."""
        return bool(self.depth or self.since is not None or self.excluded)


def parse(data: bytes) -> FetchRequest:
    """A request of version 0; raise BadRequest. One without wants is how git hangs up."""
    gathered, lines = _Gathered(), read_lines(data)
    for line in lines:
        if line is Mark.FLUSH:
            break
        if not gathered.wants:
            line = gathered.begin(line)
        gathered.take(line, _NEEDS)
    gathered.asks = False
    for line in lines:
        gathered.asks = True
        gathered.done = line == b"done"
        # Over HTTP the first flush ends the round, whatever a client has sent behind it.
        if gathered.done or line is Mark.FLUSH:
            break
        gathered.take(line, (b"have",))
    return gathered.request()


def parse_arguments(arguments: Iterable[bytes]) -> FetchRequest:
    """The arguments of version 2's ``fetch``; raise BadRequest."""
    gathered = _Gathered()
    for line in arguments:
        if line in _ARGUMENTS:
            gathered.options.add(line)
        else:
            gathered.take(line, (*_NEEDS, b"have"))
    gathered.done = b"done" in gathered.options
    return gathered.request()


def parse_command(data: bytes) -> tuple[bytes, Sequence[bytes]]:
    """(command, its arguments) of a request of version 2; b"" when there is none. Raise BadRequest."""
    keys, arguments = list[bytes](), list[bytes]()
    place = keys
    for line in read_lines(data):
        if line is Mark.FLUSH:
            break
        if not isinstance(line, Mark):
            place.append(line)
        elif place is arguments:
            raise BadRequest("the request has a delimiter too many")
        else:
            place = arguments
    if not all(map(_KEY.fullmatch, keys)):
        raise BadRequest("the request has a capability that the hub does not have")
    commands = [key.removeprefix(b"command=") for key in keys if key.startswith(b"command=")]
    if len(commands) > 1 or (not commands and (keys or arguments)):
        raise BadRequest("a request must have one command")
    return commands[0] if commands else b"", arguments


@define
class _Gathered:
    wants: dict[bytes, None] = Factory(dict)
    haves: dict[bytes, None] = Factory(dict)
    shallow: set[bytes] = Factory(set)
    excluded: list[bytes] = Factory(list)
    options: set[bytes] = Factory(set)
    filter: str = ""
    depth: int = 0
    since: int | None = None
    done: bool = False
    asks: bool = True

    def begin(self, line: bytes | Mark) -> bytes:
        """Take the capabilities off the first line."""
        match = None if isinstance(line, Mark) else _FIRST.fullmatch(line)
        if not match:
            raise BadRequest(_NOT_A_FETCH)
        self.options.update((match[2] or b"").split())
        if b"side-band-64k" not in self.options:
            raise BadRequest("the hub serves only clients that know side-band-64k, as git's do")
        return match[1]

    def take(self, line: bytes | Mark, words: Sequence[bytes]) -> None:
        """One line that begins with one of ``words``."""
        match = None if isinstance(line, Mark) or not line.startswith(tuple(words)) else _LINE.fullmatch(line)
        if not match:
            raise BadRequest(_NOT_A_FETCH)
        if match["word"]:
            self._take_id(match["word"], bytes.fromhex(match["id"].decode()))
        elif match["ref"]:
            self.excluded.append(match["ref"])
        elif match["filter"]:
            self.filter = match["filter"].decode()
        elif match["bound"] == b"deepen-since":
            self.since = int(match["number"])
        else:
            self.depth = int(match["number"])
            if not 0 < self.depth <= INFINITE_DEPTH:
                raise BadRequest("the request has an impossible depth")

    def _take_id(self, word: bytes, object_id: bytes) -> None:
        if word == b"want":
            self.wants[object_id] = None
        elif word == b"have":
            self.haves[object_id] = None
        else:
            self.shallow.add(object_id)

    def request(self) -> FetchRequest:
        if self.depth and (self.since is not None or self.excluded):
            raise BadRequest("deepen cannot go together with deepen-since or deepen-not")
        return FetchRequest(
            tuple(self.wants),
            tuple(self.haves),
            frozenset(self.shallow),
            self.depth,
            self.since,
            tuple(sorted(set(self.excluded))),
            self.filter,
            frozenset(self.options),
            self.done,
            self.asks,
        )
