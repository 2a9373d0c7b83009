"""The cluster that end-to-end tests run against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A registry and a hub, started; the test starts its drones."""
    made = Cluster(tmp_path)
    try:
        made.start_core()
        yield made
    finally:
        made.close()
