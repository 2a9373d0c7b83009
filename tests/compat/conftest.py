"""One service and one git for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted

from tests.compat.service import Git, Service


@pytest_twisted.async_yield_fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    running = Service(tmp_path / "hub")
    running.start()
    yield running
    await running.stop()


@pytest.fixture
def git(tmp_path: Path) -> Git:
    home = tmp_path / "home"
    home.mkdir()
    return Git(home)
