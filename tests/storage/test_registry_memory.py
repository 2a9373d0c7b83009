"""The registry's store in memory."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from deployd.storage.registry_memory import MemoryRegistryStore, MemoryTable
from tests.storage.registry_store_contract import RegistryStoreContract, Step, check_it_is_as_a_model_says, lives


class MemoryRegistryStoreTests(RegistryStoreContract, SynchronousTestCase):
    def new(self, max_changes: int = 1000, number: int = 0) -> MemoryRegistryStore:
        return MemoryRegistryStore(MemoryTable(number=number), max_changes)

    def reopened(self, store: MemoryRegistryStore) -> MemoryRegistryStore:
        return MemoryRegistryStore(store.table, store.max_changes)

    def fill(self, store: MemoryRegistryStore) -> None:
        store.full = True

    def make_room(self, store: MemoryRegistryStore) -> None:
        store.full = False

    @given(lives)
    def test_it_is_as_a_model_says(self, lives: Sequence[Sequence[Step]]) -> None:
        table = MemoryTable()
        check_it_is_as_a_model_says(self, lambda: MemoryRegistryStore(table, 600), lives)
