"""Lines for a pusher who waits; nothing that it does holds up who speaks."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.receiving.receipt import Receipt
from deployd.git.web.streaming import KEEPALIVE
from deployd.git.web.voice import LINES, MAX_LINE, Voice
from tests.git.web.requests import FakeRequest


class VoiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.request = Clock(), FakeRequest()
        self.left: list[str] = []
        receipt = Receipt(b"", talks=True)
        self.voice = Voice(self.clock, self.request, receipt, 60.0, lambda: self.left.append("left"))  # type: ignore[arg-type]

    def end(self) -> Deferred[None]:
        ended = self.voice.end()
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        return ended

    def test_sends_each_line_at_once(self) -> None:
        self.voice.say("one")
        self.assertEqual(self.request.sent, [b"0009\x02one\n"])
        self.voice.say("x" * 5000)
        self.assertEqual(len(self.request.lines()[1]), MAX_LINE)
        self.successResultOf(self.end())
        self.assertIsNone(self.request.producer)

    def test_says_nothing_now_and_then_so_that_the_connection_stays(self) -> None:
        self.clock.pump([KEEPALIVE] * 2)
        self.voice.pauseProducing()
        self.clock.advance(KEEPALIVE)
        self.assertEqual(self.request.sent, [b"0005\x01"] * 2)
        self.voice.resumeProducing()
        self.successResultOf(self.end())

    def test_a_pusher_who_reads_slowly_gets_the_newest(self) -> None:
        self.voice.pauseProducing()
        for number in range(LINES + 20):
            self.voice.say(str(number))
        self.assertEqual(self.request.sent, [])
        ended = self.end()
        self.assertNoResult(ended)
        self.voice.resumeProducing()
        self.successResultOf(ended)
        said = self.request.lines()
        self.assertEqual((said[0], len(said)), ("deployd: 20 lines before this were left out", LINES + 1))
        self.assertEqual(said[-1], str(LINES + 19))

    def test_one_who_takes_nothing_is_disconnected(self) -> None:
        self.voice.pauseProducing()
        self.voice.say("one")
        ended = self.end()
        self.clock.advance(59)
        self.assertFalse(self.request.aborted)
        self.clock.advance(1)
        self.assertTrue(self.request.aborted)
        self.successResultOf(ended)
        self.assertEqual(self.left, ["left"])

    def test_one_who_leaves_is_told_nothing_more(self) -> None:
        self.request.lose()
        self.voice.say("one")
        self.assertEqual((self.voice.gone, self.request.sent, self.left), (True, [], ["left"]))
        self.successResultOf(self.end())
