"""Ends of children, by their pidfds."""

from __future__ import annotations

import os
import select
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.children import Children


class Readers:
    """A reactor's readers."""

    def __init__(self) -> None:
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)


class ChildrenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Readers()
        self.statuses: list[int] = []
        self.reads, self.writes = os.pipe()
        self.addCleanup(os.close, self.reads)
        # It ends when its input does.
        pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, self.reads, 0)])
        Children(self.reactor).expect(pid, self.statuses.append)

    def test_one_that_runs_is_not_told_of(self) -> None:
        self.reactor.readers[0].doRead()
        self.assertEqual(self.statuses, [])
        self.end()

    def test_one_that_has_ended_is_told_of_once_and_forgotten(self) -> None:
        self.end()
        self.assertEqual([os.waitstatus_to_exitcode(status) for status in self.statuses], [0])
        self.assertEqual(self.reactor.readers, [])

    def end(self) -> None:
        os.close(self.writes)
        (reader,) = self.reactor.readers
        select.select([reader], [], [], 30)
        reader.doRead()

    def test_the_end_of_the_reactor_is_no_end_of_a_child(self) -> None:
        (reader,) = self.reactor.readers
        pid = reader._pid
        reader.connectionLost(None)
        self.assertEqual((self.statuses, self.reactor.readers), ([], []))
        os.close(self.writes)
        os.waitpid(pid, 0)
