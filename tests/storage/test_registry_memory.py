"""The registry's store in memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.storage.registry_memory import MemoryRegistryStore
from tests.storage.registry_store_contract import RegistryStoreContract


class MemoryRegistryStoreTests(RegistryStoreContract, SynchronousTestCase):
    def new(self, max_changes: int = 1000) -> MemoryRegistryStore:
        return MemoryRegistryStore(max_changes=max_changes)

    def reopened(self, store: MemoryRegistryStore) -> MemoryRegistryStore:
        return MemoryRegistryStore(store.table, store.max_changes)
