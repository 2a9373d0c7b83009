"""What an OwnedRows promises, whether it talks to a registry or pretends to."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import DeploydError, NotOwner, Refused, UsageError
from deployd.model.registration import Registration

COMMIT = "74336bc1db98478e02e69f59e7100895be207389"


def row(row_id: str = "http-1", port: int = 20001, **changes: Any) -> Registration:
    plain = {"id": row_id, "namespace": COMMIT, "role": "http", "host": "", "port": port, "app": "webapp"}
    return Registration(**(plain | {"release": "v1"} | changes))


class OwnedRowsContract(SynchronousTestCase):
    """Mixed into the tests of each implementation, which give it a world to live in."""

    rows: Any
    failures: list[DeploydError]

    # The world.

    def turn(self) -> None:
        """Let everything that was sent arrive."""

    def lose_link(self) -> None:
        raise self.failureException("the world must say how")

    def restore_link(self) -> None:
        raise self.failureException("the world must say how")

    def restart_registry(self) -> None:
        """A new, empty registry is there instead."""
        raise self.failureException("the world must say how")

    def refuse(self, row_id: str) -> None:
        """The registry answers NotOwner to changes of this id."""
        raise self.failureException("the world must say how")

    def table(self) -> dict[str, int]:
        """The registry's rows: id to port."""
        raise self.failureException("the world must say how")

    def setUp(self) -> None:
        super().setUp()
        self.failures = []

    def start(self) -> None:
        self.rows.startService()
        self.addCleanup(self._stop)
        self.turn()

    def _stop(self) -> None:
        self.rows.stopService()
        self.turn()

    def done(self, deferred: Deferred[Any]) -> Any:
        self.turn()
        return self.successResultOf(deferred)

    # The promises.

    def test_says_where_it_is_once_it_is_connected(self) -> None:
        self.assertEqual((self.rows.connected, self.rows.host, self.rows.http), (False, "", ""))
        self.start()
        self.assertEqual((self.rows.connected, self.rows.host), (True, "127.0.0.1"))
        self.assertTrue(self.rows.http.endswith(":6080"))

    def test_a_row_is_there_when_it_is_acknowledged(self) -> None:
        self.start()
        revision = self.done(self.rows.put(row()))
        self.assertEqual(self.table(), {"http-1": 20001})
        self.assertGreater(revision.number, 0)

    def test_revisions_grow(self) -> None:
        self.start()
        first = self.done(self.rows.put(row()))
        second = self.done(self.rows.free("http-1"))
        self.assertTrue(second.reached(first) and second != first)
        self.assertEqual(self.table(), {})

    def test_a_changed_row_replaces_the_old_one(self) -> None:
        self.start()
        self.done(self.rows.put(row()))
        self.done(self.rows.put(row(port=20002)))
        self.assertEqual(self.table(), {"http-1": 20002})

    def test_freeing_what_never_was_is_acknowledged(self) -> None:
        self.start()
        self.done(self.rows.free("http-9"))

    def test_what_is_put_before_the_first_connection_waits_for_it(self) -> None:
        done = self.rows.put(row())
        self.assertNoResult(done)
        self.start()
        self.done(done)
        self.assertEqual(self.table(), {"http-1": 20001})

    def test_what_is_put_while_the_link_is_down_arrives_with_the_next_one(self) -> None:
        self.start()
        self.lose_link()
        self.assertFalse(self.rows.connected)
        first, second = self.rows.put(row()), self.rows.free("http-2")
        self.turn()
        self.assertNoResult(first)
        self.restore_link()
        self.done(first)
        self.done(second)
        self.assertEqual(self.table(), {"http-1": 20001})

    def test_the_newest_state_wins_over_what_waits(self) -> None:
        """Both puts are acknowledged, and only the newest row was ever needed."""
        self.start()
        self.lose_link()
        both = [self.rows.put(row(port=20001)), self.rows.put(row(port=20002))]
        self.restore_link()
        self.assertEqual(self.done(both[0]), self.done(both[1]))
        self.assertEqual(self.table(), {"http-1": 20002})

    def test_rows_freed_while_the_link_is_down_are_gone_after_it(self) -> None:
        self.start()
        self.done(self.rows.put(row()))
        self.done(self.rows.put(row("say-1", 20002)))
        self.lose_link()
        done = self.rows.free("http-1")
        self.restore_link()
        self.done(done)
        self.assertEqual(self.table(), {"say-1": 20002})

    def test_all_rows_are_back_after_a_restart_of_the_registry(self) -> None:
        self.start()
        for number in range(5):
            self.done(self.rows.put(row(f"http-{number}", 20000 + number)))
        before = self.table()
        self.restart_registry()
        self.turn()
        self.assertEqual(self.table(), before)

    def test_freeing_a_row_disappoints_whoever_waits_for_it(self) -> None:
        put = self.rows.put(row())
        freed = self.rows.free("http-1")
        self.failureResultOf(put, Refused)
        self.start()
        self.done(freed)
        self.assertEqual(self.table(), {})

    def test_putting_a_row_again_disappoints_whoever_waits_for_it_to_be_free(self) -> None:
        freed = self.rows.free("http-1")
        put = self.rows.put(row())
        self.failureResultOf(freed, Refused)
        self.start()
        self.done(put)

    def test_giving_up_the_wait_leaves_the_row_wanted(self) -> None:
        put = self.rows.put(row())
        put.cancel()
        self.failureResultOf(put, CancelledError)
        self.start()
        self.assertEqual(self.table(), {"http-1": 20001})

    def test_a_refused_row_fails_alone(self) -> None:
        """The other rows of the same update are registered, and the refused one is not tried for ever."""
        self.refuse("http-2")
        puts = [self.rows.put(row(f"http-{number}", 20000 + number)) for number in (1, 2, 3)]
        self.start()
        self.done(puts[0])
        self.done(puts[2])
        self.failureResultOf(puts[1], NotOwner)
        self.assertEqual(len(self.failures), 1)
        self.lose_link()
        self.restore_link()
        self.turn()
        self.assertEqual(self.table(), {"http-1": 20001, "http-3": 20003})
        self.assertEqual(len([error for error in self.failures if isinstance(error, NotOwner)]), 1)

    def test_a_row_that_cannot_be_fails_at_once(self) -> None:
        for wrong in (row("-"), row(port=0), row(role="a b"), row(namespace="../x"), row(meta={"k": "v" * 5000})):
            self.failureResultOf(self.rows.put(wrong), UsageError)
        self.start()
        self.assertEqual(self.table(), {})

    def test_goodbye_frees_the_rows_and_ends_the_link(self) -> None:
        self.start()
        self.done(self.rows.put(row()))
        self.done(self.rows.leave())
        self.assertEqual(self.table(), {})
        self.assertFalse(self.rows.connected)
        self.failureResultOf(self.rows.put(row()), Refused)

    def test_goodbye_without_a_registry_is_quick(self) -> None:
        self.lose_link()
        self.start()
        self.done(self.rows.leave())

    def test_stopping_leaves_the_rows_and_tells_whoever_waits(self) -> None:
        self.start()
        self.done(self.rows.put(row()))
        self.lose_link()
        waiting = self.rows.put(row("http-2"))
        self.rows.stopService()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.table(), {"http-1": 20001})
