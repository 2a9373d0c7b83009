"""The store in memory."""

from __future__ import annotations

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.desired import Desired
from deployd.storage.memory import MemoryStore
from tests.planning.states import saved_states
from tests.storage.store_contract import StoreContract


class MemoryTests(StoreContract, SynchronousTestCase):
    def new(self) -> MemoryStore:
        return MemoryStore()

    def reopened(self, store: MemoryStore) -> MemoryStore:
        return store

    @settings(max_examples=30, deadline=None)
    @given(saved_states)
    def test_everything_saved_is_there_again(self, state: Desired) -> None:
        self.check_saved_is_there_again(state)
