"""How both runners agree, and what a test on the real reactor may not leave behind.

Trial's own async TestCases run the reactor themselves, which works only until pytest-twisted has started it in its
greenlet; so TestCases come first. pytest_twisted functions have no janitor: the fixture below is theirs.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in what a shell without job control has put into the background: all that tests start would be deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not _is_test_case(item))


def _is_test_case(item: pytest.Item) -> bool:
    kind = getattr(item, "cls", None)
    return kind is not None and issubclass(kind, SynchronousTestCase)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test on the real reactor that leaks delayed calls or child processes, or has an error logged."""
    if _is_test_case(request.node):
        # TestCase.mktemp makes its directories in the working directory.
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
        yield
        return
    from twisted.internet import reactor

    errors: list[str] = []

    def observe(event: dict) -> None:
        if event.get("log_level") is LogLevel.critical and not event.get("expected"):
            errors.append(str(event.get("log_failure", event.get("log_format"))))

    children = _children()
    # Those of a whole module's fixtures.
    planned = [call.func for call in reactor.getDelayedCalls()]
    open_before = {*reactor.getReaders(), *reactor.getWriters()}
    globalLogPublisher.addObserver(observe)
    try:
        yield
        # An unhandled error in a Deferred is logged when the Deferred is collected.
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(observe)
    left = [call for call in reactor.getDelayedCalls() if call.func not in planned and not _is_housekeeping(call)]
    running = _children() - children
    leaks = [f"delayed call: {call}" for call in left]
    leaks += [f"child process {pid}" for pid in running]
    leaks += [f"logged error: {error}" for error in errors]
    if left or running:
        _end(left, running, open_before)
    assert not leaks, leaks


def _end(calls: list, children: set[int], open_before: set[object]) -> None:
    """What a test has left would go on, and be told of every test that follows."""
    from twisted.internet import reactor

    for call in calls:
        call.cancel()
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    readers, writers = reactor.getReaders(), reactor.getWriters()
    # It spares what the reactor itself needs.
    reactor.removeAll()
    for each in open_before.intersection(readers):
        reactor.addReader(each)
    for each in open_before.intersection(writers):
        reactor.addWriter(each)


def _is_housekeeping(call: object) -> bool:
    """Calls that belong to the reactor's own thread pool and resolver, or to pytest-twisted's blocking loop."""
    return "twisted.internet.base" in repr(getattr(call, "func", ""))


def _children() -> set[int]:
    """The living (not zombie) children of this process."""
    found: set[int] = set()
    for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
        # A thread may end while it is looked at.
        with suppress(OSError):
            found |= {int(pid) for pid in (thread / "children").read_text().split()}
    return {pid for pid in found if _state(pid) not in ("Z", "")}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def require(*programs: str) -> pytest.MarkDecorator:
    """Skip a test, by name, whose programs are not there; fail instead under DEPLOYD_REQUIRE_ALL=1."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and os.environ.get("DEPLOYD_REQUIRE_ALL") == "1":
        return pytest.mark.usefixtures("missing_program")
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


@pytest.fixture
def missing_program() -> None:
    pytest.fail("DEPLOYD_REQUIRE_ALL=1, but a program this test needs is not installed")
