"""What is large lies in a file without a name, and is read like what is not."""

from __future__ import annotations

import zlib

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.packs.mapping import LARGE, content_of, in_file


class MappingTests(SynchronousTestCase):
    def test_a_large_entry_is_inflated_into_a_file(self) -> None:
        """A small one is not."""
        content = bytes(LARGE + 1)
        packed = zlib.compress(content, 1)
        found = content_of(packed, 0, len(packed), len(content))
        self.assertNotIsInstance(found, bytes)
        self.assertEqual(found[:], content)
        self.assertEqual(content_of(zlib.compress(b"small"), 0, 99, 5), b"small")
        self.assertEqual(in_file(lambda file: file.write(b"x"))[:], b"x")
