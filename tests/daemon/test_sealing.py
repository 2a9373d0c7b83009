"""The key in its file, and what is sealed with it."""

from __future__ import annotations

import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.daemon.sealing import KeyFile, Seal, Unreadable
from deployd.errors import Refused

OLD, NEW = b"a" * 43 + b"=", b"b" * 43 + b"="


class SealTests(SynchronousTestCase):
    def test_only_the_right_key_opens_what_was_sealed(self) -> None:
        sealed = Seal(lambda make: (OLD,)).seal(b"secret")
        self.assertNotIn("secret", sealed)
        self.assertEqual(Seal(lambda make: (OLD,)).unseal(sealed), b"secret")
        for damaged in (sealed[:-8], "", sealed.swapcase(), "ключ"):
            with self.assertRaises(Unreadable):
                Seal(lambda make: (OLD,)).unseal(damaged)
        with self.assertRaises(Unreadable):
            Seal(lambda make: (NEW,)).unseal(sealed)

    def test_the_first_key_seals_and_all_of_them_open(self) -> None:
        before = Seal(lambda make: (OLD,)).seal(b"secret")
        seal = Seal(lambda make: (NEW, OLD))
        self.assertEqual(seal.unseal(before), b"secret")
        self.assertEqual(Seal(lambda make: (NEW,)).unseal(seal.seal(b"more")), b"more")


class KeyFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.file = KeyFile(self.path)

    def test_is_made_at_the_first_need_private_and_stays(self) -> None:
        with self.assertRaisesRegex(Refused, "is not there"):
            self.file(False)
        (key,) = self.file(True)
        self.assertEqual((self.file(True), KeyFile(self.path)(False)), ((key,), (key,)))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual([path for path in self.path.parent.iterdir() if path.name.endswith(".new")], [])

    def test_that_is_taken_away_is_missed_at_once(self) -> None:
        self.file(True)
        self.path.unlink()
        with self.assertRaisesRegex(Refused, "is not there"):
            self.file(False)

    def test_may_have_several_keys(self) -> None:
        self.path.write_bytes(NEW + b"\n\n" + OLD)
        self.assertEqual(self.file(False), (NEW, OLD))

    def test_without_a_key_in_it_is_refused_and_left_alone(self) -> None:
        for content in (b"", b"secret\n", OLD + b"\nsecret", b"\xff\xfe"):
            self.path.write_bytes(content)
            with self.assertRaises(Refused) as caught:
                self.file(True)
            self.assertRegex(str(caught.exception), "holds no key")
            self.assertNotIn("secret", str(caught.exception))
            self.assertEqual(self.path.read_bytes(), content)

    def test_where_it_cannot_be_made_or_read_is_a_sentence(self) -> None:
        with self.assertRaisesRegex(Refused, "cannot make the key .*: No such file"):
            KeyFile(self.path / "nosuch" / "key")(True)
        self.path.mkdir()
        with self.assertRaisesRegex(Refused, "cannot read the key .*: Is a directory"):
            self.file(True)
