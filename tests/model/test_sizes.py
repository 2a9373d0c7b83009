"""Amounts as people write them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.model.invalid import Invalid
from deployd.model.sizes import byte_count


class ByteCountTests(SynchronousTestCase):
    def test_units_are_powers_of_1024(self) -> None:
        found = [byte_count(text) for text in ("0", "12", "1K", "512M", "5g", "1T")]
        self.assertEqual(found, [0, 12, 1024, 512 << 20, 5 << 30, 1 << 40])

    def test_anything_else_is_refused(self) -> None:
        for text in ("", "M", "-1", "1.5G", "1MB", "01", "2000T", "9" * 17, "1 G", "\u0661"):
            self.assertRaises(Invalid, byte_count, text)
