"""A supply on its way to one client: framed, in bounds, at the client's pace."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.web.pacing import Pacer
from deployd.git.web.streaming import KEEPALIVE, WINDOW, ClientGone, Stream
from deployd.git.web.supply import Slice, Supply
from tests.git.web.requests import FakeRequest

STALL = 60.0


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.supply = Clock(), Supply()
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.in_thread: Any = maybeDeferred

    def file(self, content: bytes) -> int:
        path = Path(self.mktemp())
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        return descriptor

    def send(self, request: FakeRequest, quiet: bool = False) -> Deferred[None]:
        arguments: Any = (self.clock, request, self.supply, self.in_thread, Pacer(self.clock))
        sending = Stream(*arguments, quiet=quiet, stall=STALL).run()
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        return sending

    def test_sends_bytes_and_slices_in_frames_and_then_a_flush(self) -> None:
        content = os.urandom(200_000)
        self.supply.end([b"head", Slice(self.file(content), 10, 190_000), b"tail"], ["Total 1"])
        request = FakeRequest()
        self.successResultOf(self.send(request))
        self.assertEqual(request.bands(), {1: b"head" + content[10:190_000] + b"tail", 2: b"Total 1\n", 0: b"end"})
        self.assertIsNone(request.producer)

    def test_says_nothing_to_who_wants_to_hear_nothing(self) -> None:
        self.supply.end([b"all"], ["Total 1"])
        request = FakeRequest()
        self.successResultOf(self.send(request, quiet=True))
        self.assertEqual(request.bands(), {1: b"all", 0: b"end"})

    def test_follows_a_file_that_grows(self) -> None:
        content = os.urandom(1000)
        file, request = self.file(content), FakeRequest()
        sending = self.send(request)
        for size in (300, 300, 700):
            self.supply.grow(file, size)
        self.assertEqual(request.bands(), {1: content[:700]})
        self.assertNoResult(sending)
        self.supply.end([Slice(file, 0, 1000)], [])
        self.successResultOf(sending)
        self.assertEqual(request.bands(), {1: content, 0: b"end"})

    def test_a_client_that_is_behind_costs_a_window(self) -> None:
        content = os.urandom(5 * WINDOW)
        self.supply.end([Slice(self.file(content), 0, len(content))], [])
        request = FakeRequest(room=65536)
        sending = self.send(request)
        while request.producer is not None:
            self.assertLessEqual(len(b"".join(request.sent[-3:])), WINDOW)
            self.assertLessEqual(request.room - request.free, WINDOW)
            request.drain()
        self.successResultOf(sending)
        self.assertEqual(request.bands()[1], content)

    def test_one_that_takes_nothing_is_dropped(self) -> None:
        content = bytes(1 << 20)
        self.supply.end([Slice(self.file(content), 0, len(content))], [])
        request = FakeRequest(room=65536)
        sending = self.send(request, quiet=True)
        for _ in range(3):
            self.clock.advance(STALL - 1)
            self.assertFalse(request.aborted)
            request.drain()
        self.clock.advance(1)
        self.assertFalse(request.aborted)
        self.clock.advance(STALL)
        self.assertTrue(request.aborted)
        self.failureResultOf(sending, ClientGone)

    def test_one_that_leaves_is_told_nothing_more(self) -> None:
        request = FakeRequest()
        sending = self.send(request)
        request.lose()
        self.failureResultOf(sending, ClientGone)
        self.supply.end([b"late"], [])
        self.assertEqual(request.sent, [])

    def test_says_nothing_now_and_then_while_there_is_nothing(self) -> None:
        request = FakeRequest()
        sending = self.send(request)
        self.clock.pump([KEEPALIVE] * 2)
        self.assertEqual(request.sent, [b"0005\x01"] * 2)
        self.supply.end([b"x"], [])
        self.successResultOf(sending)

    def test_what_could_not_be_made_is_a_failure_after_what_there_is(self) -> None:
        request = FakeRequest()
        sending = self.send(request)
        self.supply.grow(self.file(b"beginning"), 9)
        self.supply.fail(OSError(28, "full"))
        self.failureResultOf(sending, OSError)
        self.assertEqual(request.bands(), {1: b"beginning"})

    def test_a_file_shorter_than_it_was_said_to_be_is_not_taken_for_all(self) -> None:
        self.supply.end([Slice(self.file(b"short"), 0, 9)], [])
        request = FakeRequest()
        self.failureResultOf(self.send(request), OSError)
        self.assertNotIn(0, request.bands())

    def test_no_descriptor_is_given_up_while_a_thread_reads(self) -> None:
        reading: Deferred[bytes] = Deferred()
        self.in_thread = lambda function, piece: reading
        self.supply.end([Slice(self.file(b""), 0, 9)], [])
        request = FakeRequest()
        sending = self.send(request)
        request.lose()
        self.assertNoResult(sending)
        reading.callback(b"read")
        self.failureResultOf(sending, ClientGone)

    @given(st.lists(st.binary(max_size=100), max_size=8), st.integers(1, 120), st.lists(st.integers(0, 3), max_size=20))
    def test_every_reader_gets_all_of_it_whatever_comes_when(
        self, pieces: list[bytes], room: int, steps: list[int]
    ) -> None:
        self.supply, content = Supply(), b"".join(pieces)
        file, requests = self.file(content), [FakeRequest(room), FakeRequest()]
        sent = [self.send(request) for request in requests]
        size = 0
        for step, piece in zip(steps, pieces, strict=False):
            if step == 0 and requests[0].producer is not None:
                requests[0].drain()
            else:
                size += len(piece)
                self.supply.grow(file, size)
        self.supply.end([Slice(file, 0, len(content))], [])
        while requests[0].producer is not None:
            requests[0].drain()
        for request, done in zip(requests, sent, strict=True):
            self.successResultOf(done)
            self.assertEqual(request.bands().get(1, b""), content)
