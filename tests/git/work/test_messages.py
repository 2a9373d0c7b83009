"""Messages arrive as they were sent, however they are cut on the way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import UnknownCommit
from deployd.git.problems import BadPack
from deployd.git.receiving.receipt import Receipt, RefUpdate
from deployd.git.work import faults
from deployd.git.work.messages import MAX_BODY, TooLong, Unpacker, packed
from deployd.git.work.orders import Unfinished
from deployd.git.work.values import receipt_from_json, receipt_to_json
from deployd.model.push_options import PushOptions

MESSAGES = st.lists(st.tuples(st.dictionaries(st.text(max_size=3), st.integers()), st.binary(max_size=50)), max_size=5)


class MessageTests(SynchronousTestCase):
    @given(MESSAGES, st.integers(1, 40))
    def test_what_is_packed_is_unpacked(self, messages: list[tuple[dict[str, int], bytes]], size: int) -> None:
        data = b"".join(piece for document, body in messages for piece in packed(document, body))
        unpacker = Unpacker()
        found = [one for at in range(0, len(data), size) for one in unpacker.feed(data[at : at + size])]
        self.assertEqual(found, messages)

    def test_no_message_is_longer_than_it_may_be(self) -> None:
        self.assertRaises(TooLong, packed, {}, bytes(MAX_BODY + 1))
        self.assertRaises(TooLong, list, Unpacker().feed(b"\xff" * 8))

    def test_a_receipt_comes_back_whole(self) -> None:
        options = PushOptions(deploy=True, drones=("d1",), timeout=2.0)
        receipt = Receipt(b"\0report\xff", [RefUpdate("refs/heads/m", None, "a" * 40)], True, options, "refs/heads/m")
        self.assertEqual(receipt_from_json(*receipt_to_json(receipt)), receipt)


class FaultTests(SynchronousTestCase):
    def test_what_was_foreseen_comes_back_as_it_was(self) -> None:
        for error in (BadPack("it is damaged"), UnknownCommit("no such commit")):
            read = faults.read(faults.written(error))
            self.assertEqual((type(read), str(read)), (type(error), str(error)))
        disk = faults.read(faults.written(OSError(28, "No space left on device")))
        self.assertIsInstance(disk, OSError)
        self.assertEqual(disk.errno, 28)  # type: ignore[attr-defined]

    def test_what_was_not_is_for_the_log(self) -> None:
        written = faults.written(ZeroDivisionError("secret"))
        self.assertIn("ZeroDivisionError", written["text"])
        self.assertIsInstance(faults.read(written), Unfinished)
        self.assertNotIn("secret", str(faults.read(written)))
        self.assertIn("memory", str(faults.read(faults.written(MemoryError()))))
