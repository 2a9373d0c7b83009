"""A pipe whose reader has gone."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.unread import while_read


class Readers:
    """A reactor's readers."""

    def __init__(self) -> None:
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)


class UnreadTests(SynchronousTestCase):
    def setUp(self) -> None:
        reads, self.writes = os.pipe()
        self.addCleanup(os.close, self.writes)
        self.addCleanup(os.close, reads)
        self.reactor = Readers()
        self.work: Deferred[None] = Deferred()

    def begin(self, fd: int) -> Deferred[None]:
        return Deferred.fromCoroutine(while_read(self.reactor, fd, self.work))

    def test_its_work_is_given_up(self) -> None:
        working = self.begin(self.writes)
        (pipe,) = self.reactor.readers
        pipe.doRead()
        self.assertNoResult(working)
        pipe.connectionLost(None)
        self.failureResultOf(working, BrokenPipeError)

    def test_work_that_ends_by_itself_is_left_alone(self) -> None:
        working = self.begin(self.writes)
        self.work.callback(None)
        self.assertIsNone(self.successResultOf(working))
        self.assertEqual(self.reactor.readers, [])

    def test_somebody_elses_cancelling_stays_that(self) -> None:
        working = self.begin(self.writes)
        self.work.cancel()
        self.failureResultOf(working, CancelledError)

    def test_what_is_no_pipe_has_no_reader(self) -> None:
        fd = os.open(os.devnull, os.O_WRONLY)
        self.addCleanup(os.close, fd)
        working = self.begin(fd)
        self.assertEqual(self.reactor.readers, [])
        self.work.callback(None)
        self.successResultOf(working)
