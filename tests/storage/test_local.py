"""A daemon's own SQLite file."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.storage.local import FACTS, LocalDatabase


class LocalDatabaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.database = self.opened()

    def opened(self) -> LocalDatabase:
        database = LocalDatabase(self.path, FACTS, "the notes ")
        database.open()
        self.addCleanup(database.close)
        return database

    def facts(self) -> dict[str, str]:
        return dict(self.opened().connection.execute("select name, value from facts"))

    def test_what_was_saved_is_there_when_it_is_opened_again(self) -> None:
        with self.database.transaction("save"):
            self.database.set_fact("a", "1")
            self.database.set_fact("a", "2")
        self.assertEqual(self.facts(), {"a": "2"})

    def test_a_transaction_that_fails_leaves_nothing(self) -> None:
        with self.assertRaises(KeyError), self.database.transaction("save"):
            self.database.set_fact("a", "1")
            raise KeyError
        self.assertEqual(self.facts(), {})

    def test_what_the_disk_refuses_is_a_sentence(self) -> None:
        with self.assertRaises(Refused) as caught, self.database.transaction("save a fact"):
            self.database.connection.execute("pragma query_only = on")
            self.database.set_fact("a", "1")
        self.assertIn(f"cannot save a fact in the notes {self.path}", str(caught.exception))

    def test_nobody_else_may_read_it(self) -> None:
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
