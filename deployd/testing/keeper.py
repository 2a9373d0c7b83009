"""A keeper without processes: tests decide what each one says and how it ends."""

from __future__ import annotations

import signal as signals
from collections.abc import Callable, Iterable

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from deployd.errors import DeploydError, Refused
from deployd.processes.exits import Exit
from deployd.processes.trees import ProcessRef
from deployd.wire.keeping import Held, Launch

# Above any pid that Linux gives, so that nothing real is ever found or signalled under it.
FIRST_PID = 2**22 + 1
_IGNORED_BY_DEFAULT = {signals.SIGCHLD, signals.SIGCONT, signals.SIGURG, signals.SIGWINCH}


class FakeProcess:
    """One process that was asked for.

    ``signals`` are those sent, in order; one that is not in ``ignored`` ends it. ``printed`` is all that it wrote.
    """

    def __init__(self, keeper: FakeKeeper, launch: Launch, held: Held) -> None:
        self.launch = launch
        self.held = held
        self.signals: list[int] = []
        self.ignored: set[int] = set()
        self.printed = b""
        self.orphaned = False
        self._keeper = keeper

    def __repr__(self) -> str:
        return f"<FakeProcess {self.pid} {' '.join(self.argv)}{' (ended)' if self.ended else ''}>"

    @property
    def pid(self) -> int:
        return self.held.pid

    @property
    def argv(self) -> tuple[str, ...]:
        return self.launch.argv

    @property
    def cwd(self) -> str:
        return self.launch.cwd

    @property
    def env(self) -> dict[str, str]:
        return self.launch.env

    @property
    def ended(self) -> bool:
        return self.held.ended > 0

    # What a test does with it.

    def write(self, data: bytes) -> None:
        self.printed += data

    def exit(self, code: int | None = 0, signal: int | None = None) -> None:
        """It ends; whoever it is of hears of it, unless its keeper has died."""
        if self.ended:
            raise ProcessLookupError(self.pid)
        code = None if signal is not None else code
        self.held = evolve(self.held, ended=self._keeper.wall(), code=code, signal=signal)
        if not self.orphaned:
            self._keeper.ended(self)

    def signal(self, number: int) -> None:
        """As ``kill`` does."""
        self.signals.append(number)
        if number == signals.SIGKILL or number not in self.ignored | _IGNORED_BY_DEFAULT:
            self.exit(signal=number)


class FakeKeeper:
    """A ``deployd.drone.means.Keeper``; ``clock`` and ``wall`` (seconds since 1970) are the test's.

    ``processes`` has all ever started, the newest last, also by an earlier keeper. ``refuse`` makes every further start
    fail with that error; while ``held_back`` is a list, starts are put there instead, for ``release``. ``listening``
    are the sockets that it keeps, by id; ``remarks`` are deployd's own words, with their logs; ``unreadable`` is why
    nobody can read what was printed.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self.processes: list[FakeProcess] = []
        self.refuse: DeploydError | None = None
        self.held_back: list[Callable[[], object]] | None = None
        self.listening: dict[str, str] = {}
        self.remarks: list[tuple[str, str]] = []
        self.unreadable: OSError | None = None
        self.on_start: Callable[[FakeProcess], None] = lambda process: None
        self._kept: dict[str, FakeProcess] = {}
        self._hearing: dict[str, Callable[[Exit], None]] = {}

    # What a test does with it.

    @property
    def running(self) -> list[FakeProcess]:
        return [process for process in self.processes if not process.ended]

    def wall(self) -> float:
        return 1e9 + self.clock.seconds()

    def next_life(self) -> None:
        """The drone was killed: nobody hears of ends any more, until somebody takes over."""
        self._hearing.clear()
        self.held_back = None

    def die(self) -> None:
        """kill -9 of the keeper: what runs runs on, and nobody will know how it ends."""
        for process in self._kept.values():
            process.orphaned = True
        self._kept.clear()
        self.listening.clear()
        hearing, self._hearing = self._hearing, {}
        for exited in hearing.values():
            exited(Exit(None, None))

    def release(self) -> None:
        """Start what was held back, and all that comes."""
        waiting, self.held_back = self.held_back or [], None
        for start in waiting:
            start()

    def printed(self, log: str, since: float) -> str:
        """``deployd.drone.means.Means.tail``."""
        if self.unreadable is not None:
            raise self.unreadable
        found = [each for each in self.processes if each.launch.log == log and each.held.started >= since]
        return b"".join(each.printed for each in found).decode().rstrip("\n")

    # What the code under test does with it.

    def start(self, launch: Launch, exited: Callable[[Exit], None]) -> Deferred[Held]:
        if self.held_back is not None:
            started: Deferred[Held] = Deferred()
            self.held_back.append(lambda: self._start(launch, exited).chainDeferred(started))
            return started
        return self._start(launch, exited)

    def attach(
        self, launch: Launch, descriptors: tuple[int, int, int], exited: Callable[[Exit], None]
    ) -> Deferred[Held]:
        return self.start(launch, exited)

    def take_over(self, id: str, exited: Callable[[Exit], None]) -> Held | None:
        process = self._kept.get(id)
        if process is not None and not process.ended:
            self._hearing[id] = exited
        return process.held if process else None

    def held(self) -> Iterable[Held]:
        return [process.held for process in self._kept.values()]

    def forget(self, id: str) -> None:
        process = self._kept.get(id)
        if process is None or not process.ended:
            assert id not in self._hearing, f"{id} runs, and should still be heard of"
        self._kept.pop(id, None)

    def unlisten(self, id: str) -> None:
        self.listening.pop(id, None)

    def remark(self, log: str, words: str) -> None:
        self.remarks.append((log, " ".join(words.split())))

    # How it does that.

    def ended(self, process: FakeProcess) -> None:
        exited = self._hearing.pop(process.launch.id, None)
        if exited is not None:
            exited(Exit(process.held.code, process.held.signal))

    def _start(self, launch: Launch, exited: Callable[[Exit], None]) -> Deferred[Held]:
        before = self._kept.get(launch.id)
        if self.refuse is not None:
            return fail(self.refuse)
        if before is not None and not before.ended:
            return fail(Refused(f"{launch.id} runs already"))
        if launch.listen:
            self.listening[launch.id] = launch.listen
        pid = FIRST_PID + len(self.processes)
        held = Held(launch.id, pid, f"boot:{pid}", self.wall(), socket=launch.id in self.listening)
        process = FakeProcess(self, launch, held)
        self.processes.append(process)
        self._kept[launch.id] = process
        self._hearing[launch.id] = exited
        self.on_start(process)
        return succeed(held)


def reference(process: FakeProcess) -> ProcessRef:
    """As what it is known to the drone."""
    return ProcessRef(process.held.pid, process.held.created)
