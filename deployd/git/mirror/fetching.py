"""The drone's side: exactly one commit from the hub, without its history, into a mirror of the app's repository.

One request does it: git's stateless protocol lets a client that knows the commit ask for it at once. Each commit comes
as a pack that stands alone; it is checked like a push, because a hub may be hostile too, and the commit counts as here
only when the mirror has a ref on it, which is written last.
"""

from __future__ import annotations

import base64
import http.client
import io
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from attrs import define

from deployd.errors import Busy, Refused, SecretRefused, UnknownApp, UnknownCommit, Unreachable
from deployd.git import pktlines
from deployd.git.disk import locked, replace_file
from deployd.git.kinds import COMMIT
from deployd.git.limits import GitLimits
from deployd.git.packs.store import Packs
from deployd.git.problems import BadRequest, GitProblem
from deployd.git.receiving.census import Census
from deployd.git.receiving.quarantine import Quarantine
from deployd.git.refs import DEPLOY, Move, move_refs, read_refs
from deployd.git.repositories import Repositories, clean_repository

_CAPABILITIES = b"multi_ack_detailed no-done side-band-64k thin-pack ofs-delta no-progress"
_SERVICE = "git-upload-pack"
_IN_MEMORY = 1 << 20
_SILENCE = 60.0
_MAX_SHALLOW = 1000
_LOCK = "fetch-lock"
_NEW = ".mirror-"


def fetch(
    mirror: Path,
    url: str,
    user: str,
    token: str,
    commit: str,
    timeout: float,
    *,
    limits: GitLimits | None = None,
    trust: ssl.SSLContext | None = None,
) -> None:
    """Bring ``commit`` (40 hex digits) from the repository at ``url`` into ``mirror``, which is made when missing.

    The hub gives it when it is in a branch or tag, or was deployed. Two fetches into one mirror wait for each
    other. ``timeout`` is for everything, in seconds. Raise Unreachable, Busy, SecretRefused, UnknownApp, UnknownCommit
    or Refused, each with one sentence and never with the token.
    """
    if has(mirror, commit):
        return
    deadline = time.monotonic() + timeout
    create_mirror(mirror)
    with locked(mirror / _LOCK, timeout):
        if has(mirror, commit):
            return
        clean_repository(mirror)
        request = _Request(url, user, token, commit, deadline, trust)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(mirror)) as pack:
            shallow = request.download(cast(BinaryIO, pack), (limits or GitLimits()).pack_bytes)
            pack.seek(0)
            _store(mirror, commit, cast(BinaryIO, pack), shallow, limits or GitLimits())


def has(mirror: Path, commit: str) -> bool:
    """Whether ``commit`` and all its files are in ``mirror``."""
    if DEPLOY + commit.encode() not in read_refs(mirror).values:
        return False
    with Packs(mirror / "objects") as packs:
        return packs.kind(bytes.fromhex(commit)) == COMMIT


def commits(mirror: Path) -> tuple[str, ...]:
    """The commits that were brought into ``mirror``."""
    return tuple(name[len(DEPLOY) :].decode() for name in read_refs(mirror).values if name.startswith(DEPLOY))


def create_mirror(mirror: Path) -> None:
    """Make an empty mirror unless it is there."""
    if (mirror / "HEAD").is_file():
        return
    mirror.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=_NEW, dir=mirror.parent))
    try:
        fresh = Repositories(holder)
        fresh.create("fresh")
        try:
            fresh.path("fresh").rename(mirror)
        except OSError:
            if not (mirror / "HEAD").is_file():
                raise
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def clean(directory: Path) -> None:
    """Delete the half-made mirrors that a kill left in ``directory``. Call it before the first fetch there."""
    for leftover in directory.glob(_NEW + "*"):
        shutil.rmtree(leftover, ignore_errors=True)


def forget(mirror: Path, commit: str) -> None:
    """Delete ``commit`` and its pack, which no other commit needs, since each came in one that stands alone.

    The caller sees to it that nobody is checking it out.
    """
    if not mirror.is_dir():
        return
    with locked(mirror / _LOCK):
        name = DEPLOY + commit.encode()
        if name in read_refs(mirror).values:
            move_refs(mirror, [Move(name, commit.encode(), None)])
        with Packs(mirror / "objects") as packs:
            alone = packs.holding(bytes.fromhex(commit))
        for path in alone:
            # The index first: without it the pack is nothing, and is cleaned up after a kill.
            path.with_suffix(".idx").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _store(mirror: Path, commit: str, pack: BinaryIO, shallow: set[bytes], limits: GitLimits) -> None:
    objects = mirror / "objects"
    try:
        with Packs(objects) as packs, Quarantine(objects, packs, limits) as quarantine:
            quarantine.take(pack)
            if quarantine.kind(bytes.fromhex(commit)) != COMMIT:
                raise Refused(f"the hub sent something else than commit {commit[:12]}")
            quarantine.check_alone(_history_left_out(quarantine.census, shallow))
            _remember_shallow(mirror, shallow)
            move_refs(mirror, [Move(DEPLOY + commit.encode(), None, commit.encode())], before=quarantine.release)
    except GitProblem as problem:
        raise Refused(f"the hub sent a pack that is not right: {problem}") from problem
    except OSError as error:
        raise Refused(f"commit {commit[:12]} could not be stored: {error.strerror}") from error


def _history_left_out(census: Census, shallow: set[bytes]) -> set[bytes]:
    """The parents that a commit at the boundary names and that did not come."""
    return {parent for boundary in shallow for parent in census.parents.get(bytes.fromhex(boundary.decode()), ())}


def _remember_shallow(mirror: Path, shallow: set[bytes]) -> None:
    path = mirror / "shallow"
    known = set(path.read_bytes().split()) if path.exists() else set()
    if not shallow <= known:
        replace_file(path, b"".join(line + b"\n" for line in sorted(known | shallow)))


@define
class _Request:
    url: str
    user: str
    token: str
    commit: str
    deadline: float
    trust: ssl.SSLContext | None

    def download(self, pack: BinaryIO, limit: int) -> set[bytes]:
        """Write the pack to ``pack``; return the ids at which history was cut."""
        try:
            with self._response() as response:
                stream = cast(BinaryIO, response)
                shallow = self._shallow(stream)
                self._pack(stream, pack, limit)
                return shallow
        except BadRequest as error:
            raise Unreachable("the hub's answer ended early or is not git's") from error
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(f"the hub's certificate is not trusted: {error.verify_message}") from error
        except TimeoutError as error:
            raise Unreachable(f"commit {self.commit[:12]} did not arrive in time from {self._shown()}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise Unreachable(f"the hub's git service at {self._shown()} cannot be reached: {reason}") from error

    @contextmanager
    def _response(self) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(self.url)
        wait = max(0.1, min(_SILENCE, self.deadline - time.monotonic()))
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = self.trust or ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=wait, context=context)
        elif parts.scheme == "http" and parts.hostname:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=wait)
        else:
            raise Unreachable(f"{self._shown()} is not an HTTP address")
        connection.response_class = partial(_TimedResponse, deadline=self.deadline)  # type: ignore[assignment]
        with closing(connection):
            path = f"{parts.path.rstrip('/')}/{_SERVICE}"
            connection.request("POST", path, self._wants(), self._headers())
            with closing(connection.getresponse()) as response:
                self._check(response)
                yield response

    def _wants(self) -> bytes:
        want = b"want " + self.commit.encode() + b" " + _CAPABILITIES + b"\n"
        return pktlines.line(want) + pktlines.line(b"deepen 1\n") + pktlines.FLUSH + pktlines.line(b"done\n")

    def _headers(self) -> dict[str, str]:
        credentials = base64.b64encode(f"{self.user}:{self.token}".encode()).decode()
        return {
            "Authorization": f"Basic {credentials}",
            "Content-Type": f"application/x-{_SERVICE}-request",
            "Accept": f"application/x-{_SERVICE}-result",
        }

    def _check(self, response: http.client.HTTPResponse) -> None:
        if response.status in (401, 403):
            raise SecretRefused("the hub's git service refused this drone's token")
        if response.status == 404:
            raise UnknownApp("the hub has no such repository")
        if response.status == 503:
            raise Busy(f"the hub's git service at {self._shown()} is busy")
        kind = response.headers.get_content_type()
        if response.status != 200 or kind != f"application/x-{_SERVICE}-result":
            raise Unreachable(f"the hub's git service at {self._shown()} answered {response.status}")

    def _shallow(self, stream: BinaryIO) -> set[bytes]:
        shallow: set[bytes] = set()
        for line in self._lines(stream):
            if line.startswith(b"shallow "):
                shallow.add(line[8:48])
            if len(shallow) > _MAX_SHALLOW:
                raise Refused(f"the hub cuts the history of commit {self.commit[:12]} at too many places")
        return shallow

    def _pack(self, stream: BinaryIO, pack: BinaryIO, limit: int) -> None:
        size = 0
        for line in self._lines(stream):
            if line[:1] == b"\x03":
                raise Refused(f"the hub ended the transfer of commit {self.commit[:12]}")
            if line[:1] == b"\x01":
                size += len(line) - 1
                if size > limit:
                    raise Refused(f"commit {self.commit[:12]} is larger than {limit} bytes")
                pack.write(line[1:])

    def _lines(self, stream: BinaryIO) -> Iterator[bytes]:
        """The lines up to the next flush. Many may be read at once, so the deadline is looked at for each."""
        while (line := pktlines.read_line(stream)) is not None:
            if time.monotonic() > self.deadline:
                raise TimeoutError
            if line.startswith(b"ERR "):
                raise UnknownCommit(f"the hub has no commit {self.commit[:12]} for this drone")
            yield line

    def _shown(self) -> str:
        parts: Any = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


class _TimedResponse(http.client.HTTPResponse):
    """An answer, headers included, that is read until ``deadline`` (seconds of the monotonic clock) at the latest.

    A timeout of the socket alone starts anew with each byte, so a hub could drip for days.
    """

    def __init__(self, sock: socket.socket, *arguments: Any, deadline: float, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp: Any = io.BufferedReader(_TimedReads(cast(Any, self.fp).detach(), sock, deadline))


class _TimedReads(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(min(_SILENCE, left))
        return cast("int | None", cast(Any, self._raw).readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()
