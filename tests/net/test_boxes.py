"""Boxes are cut out of a connection's bytes as they were put in (Note [Boxes by hand])."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.protocols.amp import AmpBox
from twisted.trial.unittest import SynchronousTestCase

from deployd.net.boxes import BoxCutter

LIMIT = 100_000
BOXES = st.lists(
    st.dictionaries(
        st.binary(min_size=1, max_size=5) | st.binary(min_size=250, max_size=255),
        st.binary(max_size=300) | st.sampled_from([b"x" * 255, b"y" * 256, b"z" * 65_535]),
        max_size=4,
    ).filter(lambda box: sum(len(key) + len(value) for key, value in box.items()) <= LIMIT),
    max_size=6,
)


class Taking(BoxCutter):
    """Keeps what comes; reads no further for a while after each ``pause``-th box."""

    def __init__(self, pause: int = 0) -> None:
        super().__init__()
        self.box_limit = LIMIT
        self.taken: list[dict[bytes, bytes]] = []
        self.dropped = ""
        self._pause = pause

    def ampBoxReceived(self, box: AmpBox) -> None:
        self.taken.append(dict(box))
        if self._pause and len(self.taken) % self._pause == 0:
            self.pauseProducing()
        if self._pause and len(self.taken) % self._pause == 1:
            # Somebody who can take more at once after all.
            self.pauseProducing()
            self.resumeProducing()

    def drop(self, why: str) -> None:
        self.dropped, self.is_dropped = why, True


def connected(pause: int = 0) -> Taking:
    taking = Taking(pause)
    taking.makeConnection(StringTransport())
    return taking


class BoxTests(SynchronousTestCase):
    @given(BOXES, st.data())
    def test_boxes_come_whole_and_in_order_however_their_bytes_are_parted(
        self, boxes: list[dict[bytes, bytes]], data: st.DataObject
    ) -> None:
        text = b"".join(AmpBox(box).serialize() for box in boxes)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
        taking = connected(data.draw(st.integers(0, 3)))
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            taking.dataReceived(text[start:end])
        while taking.paused:
            taking.resumeProducing()
        self.assertEqual(taking.taken, boxes)
        self.assertEqual(taking.dropped, "")

    def test_a_byte_after_the_other_is_a_box_too(self) -> None:
        taking = connected()
        for byte in AmpBox({b"key": b"value" * 1000, b"other": b""}).serialize():
            taking.dataReceived(bytes([byte]))
        self.assertEqual(taking.taken, [{b"key": b"value" * 1000, b"other": b""}])

    def test_a_box_beyond_the_limit_is_given_up_before_it_is_there(self) -> None:
        taking = connected()
        large = b"x" * 60_000
        taking.dataReceived(AmpBox({b"a": large, b"b": large}).serialize()[: LIMIT - 30_000])
        self.assertEqual((taking.taken, taking.dropped), ([], "a box larger than allowed"))

    def test_nothing_after_what_is_given_up_is_taken(self) -> None:
        taking = connected()
        taking.dataReceived(b"\x01\x00" + AmpBox({b"key": b"value"}).serialize())
        taking.dataReceived(AmpBox({b"key": b"value"}).serialize())
        self.assertEqual((taking.taken, taking.dropped), ([], "a key longer than AMP allows"))
