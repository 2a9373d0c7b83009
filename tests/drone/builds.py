"""Checkouts to build in, without a repository behind them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed

from deployd.drone import built
from deployd.planning.reconcile import CheckoutKey


class FakeCheckouts:
    def __init__(self, top: Path) -> None:
        self.top = top
        self.all: dict[CheckoutKey, dict[str, str]] = {}
        self.made_anew: list[CheckoutKey] = []

    def make(self, key: CheckoutKey, files: Mapping[str, str]) -> None:
        self.all[key] = dict(files)
        built.forget(self.path(key))
        for name, text in files.items():
            path = self.path(key) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def keys(self) -> frozenset[CheckoutKey]:
        return frozenset(self.all)

    def path(self, key: CheckoutKey) -> Path:
        return self.top / f"{key.release}-{key.commit}"

    def anew(self, key: CheckoutKey) -> Deferred[None]:
        self.made_anew.append(key)
        for root, directories, files in os.walk(self.path(key), topdown=False):
            for name in (*files, *directories):
                path = Path(root, name)
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        self.make(key, self.all[key])
        return succeed(None)

    def stored(self, holder: str) -> Deferred[list[Any]]:
        return succeed([])

    async def drop(self, stored: Any, holder: str) -> None:
        raise AssertionError(stored)
