"""The cluster that end-to-end tests run against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A registry and a hub, started; the test starts its drones."""
    yield from _started(Cluster(tmp_path))


@pytest.fixture
def private_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """The same, where the registry lets nobody read without the secret."""
    yield from _started(Cluster(tmp_path), "--private")


def _started(made: Cluster, *registry_options: str) -> Iterator[Cluster]:
    try:
        made.start_core(*registry_options)
        yield made
    finally:
        made.close()
