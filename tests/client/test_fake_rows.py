"""The fake keeps the promises of the real one."""

from __future__ import annotations

from deployd.errors import NotOwner
from deployd.testing.rows import FakeOwnedRows
from tests.client.rows_contract import OwnedRowsContract, row


class FakeOwnedRowsTests(OwnedRowsContract):
    def setUp(self) -> None:
        super().setUp()
        self.rows = FakeOwnedRows(name="drone-1", failed=self.failures.append)

    def lose_link(self) -> None:
        self.rows.disconnect()

    def restore_link(self) -> None:
        self.rows.connect()

    def restart_registry(self) -> None:
        self.rows.forget()

    def refuse(self, row_id: str) -> None:
        self.rows.refusals[row_id] = NotOwner()

    def table(self) -> dict[str, int]:
        return {found.id: found.port for found in self.rows.table.values()}

    # What only the fake can do.

    def test_answers_can_be_held_back(self) -> None:
        self.start()
        self.rows.hold()
        done = self.rows.put(row())
        self.assertNoResult(done)
        self.rows.release()
        self.successResultOf(done)


del OwnedRowsContract
