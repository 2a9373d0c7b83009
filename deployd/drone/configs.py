"""The environments of releases: fetched from the hub once, and kept sealed, so that a reboot needs no hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.daemon.sealing import KeyFile, Seal, sync_directory, write
from deployd.drone.problem import Outage
from deployd.errors import Busy, DeploydError, Malformed, Refused, Unreachable
from deployd.model.instance import AssignedInstance
from deployd.model.names import shown
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.ending import ToThread
from deployd.wire.documents import dump, load

KEY = "config.key"
_SLASH, _NEW = "+", ".new"
_EXTRA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

Fetch = Callable[[AssignedInstance], Deferred[bytes]]
"""Asks the hub for the values of a line, a JSON object; fails with Unreachable while that is away."""


@frozen
class Kept:
    """What a hub of ``epoch`` has given."""

    epoch: str
    values: dict[str, str] = field(repr=False)


class Configs:
    """``top`` is the drone's state directory; ``to_thread`` runs blocking work; ``epoch`` is the present hub's.

    Note [Values are read for each start]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    A start decrypts what it needs (a third of a millisecond for the largest), and nothing is cached here: what a drone
    knew of the secrets of stopped apps would end in a core dump or a swap file one day.

    Note [A config of another epoch]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    A restored hub counts on from its backup, so its revision 3 may have other values than the one that the drone knows.
    After a change of epoch everything is asked for once more. What cannot be had stays as it is: apps that the hub does
    not know go on as they were.
    """

    _log = Logger()

    def __init__(self, top: Path, to_thread: ToThread, fetch: Fetch, epoch: Callable[[], str]) -> None:
        self._top = top / "configs"
        self._seal = Seal(KeyFile(top / KEY))
        self._to_thread = to_thread
        self._fetch = fetch
        self._epoch = epoch
        self._locks: dict[CheckoutKey, DeferredLock] = {}

    def clean(self, keep: Collection[CheckoutKey]) -> None:
        """Delete what belongs to no release in ``keep``, and what a kill left half written. Blocks; call it first."""
        kept = {self._path(key) for key in keep}
        for path in self._top.glob("*/*"):
            release = path.with_name(path.name.partition(".")[0])
            if release not in kept or path.name.endswith(_NEW):
                path.unlink(missing_ok=True)

    def values(self, line: AssignedInstance) -> Deferred[dict[str, str]]:
        """As ``means.Configs``. Cancelling only stops waiting: what comes is saved, and there next time."""
        if not line.config and not line.extra:
            return succeed({})
        waiter: Deferred[dict[str, str]] = Deferred()
        self._locked(CheckoutKey.of(line), self._values(line)).addBoth(_told, waiter)
        return waiter

    async def forget(self, key: CheckoutKey) -> None:
        """The release is gone from this drone."""
        await self._locked(key, self._forget(key))

    async def _values(self, line: AssignedInstance) -> dict[str, str]:
        path = self._path_of(line)
        kept: Kept | None = await self._to_thread(self._read, path)
        epoch = self._epoch()
        if kept is not None and kept.epoch == epoch:
            return kept.values
        try:
            values = _texts(load(await self._fetch(line)))
        except DeploydError as error:
            if kept is not None:
                return kept.values
            raise Outage(str(error)) if isinstance(error, Unreachable | Busy) else error from None
        # Before it is used: an app that ran with it once must find it again after a reboot.
        await self._to_thread(self._save, path, Kept(epoch, values), line.app)
        return values

    async def _forget(self, key: CheckoutKey) -> None:
        await self._to_thread(self._delete, self._path(key))

    def _locked(self, key: CheckoutKey, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """One after the other for each release: what the first one fetches, the others find."""
        lock = self._locks.setdefault(key, DeferredLock())
        return lock.run(Deferred.fromCoroutine, work).addBoth(self._unlocked, key, lock)

    def _unlocked(self, result: Any, key: CheckoutKey, lock: DeferredLock) -> Any:
        if not lock.locked and self._locks.get(key) is lock:
            del self._locks[key]
        return result

    def _path(self, key: CheckoutKey) -> Path:
        """The beginning of all paths of a release."""
        return self._top / key.app.replace("/", _SLASH) / f"{key.release}-{key.commit}"

    def _path_of(self, line: AssignedInstance) -> Path:
        if line.extra and not _EXTRA.fullmatch(line.extra):
            raise Refused(f"{shown(line.extra)} cannot name what was added to a release")
        path = self._path(CheckoutKey.of(line))
        return path.with_name(f"{path.name}.{line.config}" + (f".{line.extra}" if line.extra else ""))

    # In threads.

    def _read(self, path: Path) -> Kept | None:
        """What is kept; None where there is nothing, or nothing of use."""
        try:
            document = load(self._seal.unseal(path.read_text("ascii")))
            return Kept(document["epoch"], _texts(document["values"]))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, DeploydError, KeyError, TypeError):
            self._log.warn("the config in {name} is of no use and is fetched anew", name=path.name)
            return None

    def _save(self, path: Path, kept: Kept, app: str) -> None:
        sealed = self._seal.seal(dump({"epoch": kept.epoch, "values": kept.values}))
        beside = path.with_name(path.name + _NEW)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write(beside, sealed.encode("ascii"))
            beside.rename(path)
            sync_directory(path.parent)
        except OSError as error:
            raise Refused(f"cannot save the config of {app}: {error.strerror}") from None

    def _delete(self, path: Path) -> None:
        for kept in path.parent.glob(f"{path.name}.*"):
            kept.unlink(missing_ok=True)


def _texts(values: Any) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise Malformed("a config is texts by name")
    return values


def _told(result: dict[str, str] | Failure, waiter: Deferred[dict[str, str]]) -> None:
    if not waiter.called:
        waiter.callback(result)
