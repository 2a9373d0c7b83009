"""Ends, told by a kernel of the test's own."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.keeper.reaping import AT_ONCE, Reaper


class Kernel:
    def __init__(self) -> None:
        self.ended: list[tuple[int, int]] = []
        self.children = True

    def wait(self, pid: int, options: int) -> tuple[int, int]:
        if self.ended:
            return self.ended.pop(0)
        if not self.children:
            raise ChildProcessError
        return 0, 0


class ReaperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.kernel = Clock(), Kernel()
        self.reaper = Reaper(self.clock, self.kernel.wait)
        self.told: list[tuple[int, int]] = []

    def expect(self, *pids: int) -> None:
        for pid in pids:
            self.reaper.expect(pid, lambda status, pid=pid: self.told.append((pid, status)))  # type: ignore[misc]

    def test_each_end_is_told_once_to_whoever_expects_it(self) -> None:
        self.expect(7, 8)
        self.kernel.ended = [(8, 256), (7, 9)]
        self.reaper.reap()
        self.reaper.reap()
        self.assertEqual(self.told, [(8, 256), (7, 9)])

    def test_orphans_are_reaped_and_nobodys(self) -> None:
        self.expect(7)
        self.kernel.ended = [(99, 0), (7, 0), (99, 0)]
        self.kernel.children = False
        self.reaper.reap()
        self.assertEqual((self.told, self.kernel.ended), ([(7, 0)], []))

    def test_many_ends_take_several_turns(self) -> None:
        pids = range(1, 2 * AT_ONCE + 10)
        self.expect(*pids)
        self.kernel.ended = [(pid, 0) for pid in pids]
        self.reaper.reap()
        self.assertEqual(len(self.told), AT_ONCE)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(len(self.told), len(pids))
        self.assertEqual(self.clock.getDelayedCalls(), [])
