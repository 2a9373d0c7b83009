"""The thread that writes. It is a real one: what it hands back to the reactor is looked at when it comes."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import current_thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from deployd.storage.writer import Writer

LIMIT = 10.0


class Handover:
    """What the writer needs of a reactor."""

    def __init__(self) -> None:
        self._handed: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        self._handed.put((function, arguments, options))

    def one(self) -> None:
        """Do what comes next."""
        function, arguments, options = self._handed.get(timeout=LIMIT)
        function(*arguments, **options)


class WriterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Handover()
        self.tidied: SimpleQueue[bool] = SimpleQueue()
        self.more = [False]
        self.writer = Writer(self.reactor, "test", self.tidy)
        self.addCleanup(self.close)

    def tidy(self, idle: bool) -> bool:
        self.tidied.put(idle)
        return self.more.pop() if self.more else False

    def close(self) -> None:
        self.writer.close()
        if self.writer._thread is not None:
            self.writer._thread.join(LIMIT)
            self.assertFalse(self.writer._thread.is_alive())

    def test_calls_are_made_in_their_order_in_one_thread(self) -> None:
        made: list[tuple[int, str]] = []
        calls = [
            self.writer.run(lambda number: made.append((number, current_thread().name)), number) for number in range(50)
        ]
        for call in calls:
            self.assertNoResult(call)
            self.reactor.one()
            self.successResultOf(call)
        self.assertEqual(made, [(number, "test") for number in range(50)])

    def test_what_a_call_raises_is_its_failure_and_the_thread_goes_on(self) -> None:
        failing, other = self.writer.run(int, "x"), self.writer.run(int, "5")
        self.reactor.one()
        self.failureResultOf(failing, ValueError)
        self.reactor.one()
        self.assertEqual(self.successResultOf(other), 5)

    def test_it_tidies_up_after_a_call_and_in_the_pause_until_nothing_is_left(self) -> None:
        self.more = [False, True, True]
        self.writer.run(int)
        self.assertEqual([self.tidied.get(timeout=LIMIT) for _ in range(3)], [False, True, True])

    def test_trouble_with_tidying_is_logged_and_calls_are_still_made(self) -> None:
        self.tidied = None  # type: ignore[assignment]
        done = self.writer.run(int, "5")
        self.reactor.one()
        self.reactor.one()
        self.assertEqual(self.successResultOf(done), 5)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_nothing_is_called_once_it_is_closed(self) -> None:
        last = self.writer.run(int, "5")
        self.writer.close()
        self.failureResultOf(self.writer.run(int), RuntimeError)
        self.reactor.one()
        self.assertEqual(self.successResultOf(last), 5)
