"""What survives a kill."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.journal import Entry, Journal
from deployd.drone.life import Life
from deployd.errors import Refused
from deployd.model.instance import Goal
from deployd.model.revision import Revision
from tests.drone.house import line


class JournalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.journal = self.open()

    def open(self) -> Journal:
        journal = Journal(self.path)
        self.addCleanup(journal.close)
        return journal

    def again(self) -> Journal:
        """As after kill -9: a second one reads what the first has acknowledged, without its goodbye."""
        return self.open()

    def test_is_empty_at_first(self) -> None:
        contents = self.journal.read()
        self.assertEqual((contents.revision, contents.entries, contents.facts), (Revision("", 0), (), {}))

    def test_has_an_assignment_once_it_is_taken(self) -> None:
        self.journal.take(Revision("e", 3), [line(), line("say")])
        contents = self.again().read()
        self.assertEqual(contents.revision, Revision("e", 3))
        self.assertEqual(contents.entries, (Entry(line(), "e", 3), Entry(line("say"), "e", 3)))

    def test_keeps_the_process_of_an_instance_over_assignments(self) -> None:
        self.journal.take(Revision("e", 1), [line()])
        life = Life(20001, 4711, "boot:99", 2, line(), "127.0.0.1", "127.0.0.1", passed=True, reason="why", tail="oh")
        self.journal.save({"http-v1": life})
        stopped = evolve(line(), goal=Goal.STOP)
        self.journal.take(Revision("e", 2), [stopped])
        self.assertEqual(self.again().read().entries, (Entry(stopped, "e", 2, life),))

    def test_brings_up_one_of_before_the_keeper(self) -> None:
        self.journal.take(Revision("e", 1), [line()])
        database = self.journal._database.connection
        database.execute("alter table instances drop column life")
        for column in ("port", "pid", "restarts"):
            database.execute(f"alter table instances add column {column} integer not null default 0")
        database.execute("alter table instances add column created text not null default ''")
        database.execute("update instances set port = 20001, pid = 4711, created = 'boot:99', restarts = 2")
        entries = (Entry(line(), "e", 1, Life(20001, 4711, "boot:99", 2)),)
        self.assertEqual((self.again().read().entries, self.again().read().entries), (entries, entries))

    def test_keeps_what_an_assignment_leaves_out_until_it_is_forgotten(self) -> None:
        self.journal.take(Revision("e", 1), [line()])
        self.journal.take(Revision("e", 2), [])
        self.assertEqual(self.journal.read().entries, (Entry(line(), "e", 1),))
        self.journal.forget("http-v1", Revision("e", 2))
        self.assertEqual(self.journal.read().entries, ())

    def test_does_not_forget_what_a_newer_assignment_has_again(self) -> None:
        self.journal.take(Revision("e", 3), [line()])
        self.journal.forget("http-v1", Revision("e", 2))
        self.assertEqual(len(self.journal.read().entries), 1)

    def test_a_failed_transaction_leaves_nothing_of_itself(self) -> None:
        self.journal.take(Revision("e", 1), [line()])
        with self.assertRaises(AttributeError):
            self.journal.take(Revision("e", 2), [line("say"), None])  # type: ignore[list-item]
        self.assertEqual(self.journal.read().revision, Revision("e", 1))
        self.journal.take(Revision("e", 2), [])

    def test_keeps_facts(self) -> None:
        self.journal.note(host="10.0.0.1", registry="hub:6000")
        self.journal.note(host="10.0.0.2")
        self.assertEqual(self.again().read().facts, {"host": "10.0.0.2", "registry": "hub:6000"})

    def test_is_readable_by_its_owner_only(self) -> None:
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_says_in_one_sentence_that_it_cannot_be_written(self) -> None:
        self.journal.close()
        with self.assertRaisesRegex(Refused, "cannot save the assignment in the drone's journal"):
            self.journal.take(Revision("e", 1), [line()])

    def test_says_in_one_sentence_that_it_cannot_be_opened(self) -> None:
        broken = Path(self.mktemp())
        broken.write_bytes(os.urandom(4096))
        with self.assertRaisesRegex(Refused, "cannot open .*: file is not a database"):
            Journal(broken)
        with self.assertRaisesRegex(Refused, "cannot open .*No such file"):
            Journal(Path(self.mktemp()) / "not" / "there")

    def test_waits_for_the_disk(self) -> None:
        """FULL (2): a commit that was acknowledged outlives a power cut."""
        self.assertEqual(self.journal._database.connection.execute("pragma synchronous").fetchone(), (2,))
        self.assertIsInstance(self.journal._database.connection, sqlite3.Connection)
