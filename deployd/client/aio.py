"""The registry's client for programs on asyncio (docs/client).

async with deployd.client.aio.connect("host:6000", secret=...) as registry:
    await registry.register("web@1.2.3", port)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from deployd.client.loop_reactor import LoopReactor
from deployd.client.registry import PATIENCE, WAIT_FOR_ROW, RegistryClient
from deployd.client.stream import RowEvent, RowStream
from deployd.model.registration import Registration

T = TypeVar("T")


@asynccontextmanager
async def connect(addresses: str = "", **options: Any) -> AsyncIterator[Registry]:
    """A Registry, which stops at the end of the block; ``options`` are RegistryClient's.

    Connecting goes on beside: what is asked for waits for it.
    """
    loop = asyncio.get_running_loop()
    # A key is read, or made, and cryptography is imported for it.
    await loop.run_in_executor(None, _prepare)
    reactor = LoopReactor(loop)
    reactor.begin()
    try:
        client = await loop.run_in_executor(None, lambda: RegistryClient(reactor, addresses, **options))
        client.startService()
        try:
            yield Registry(client, loop)
        finally:
            await asyncio.shield(client.stopService().asFuture(loop))
    finally:
        reactor.end()


class Registry:
    """RegistryClient, with coroutines. ``client`` is the one that does it."""

    def __init__(self, client: RegistryClient, loop: asyncio.AbstractEventLoop) -> None:
        self.client = client
        self._loop = loop

    @property
    def address(self) -> str:
        """Of the registry that is connected; "" when none is."""
        return self.client.address

    async def register(
        self,
        service: str,
        port: int,
        *,
        meta: Mapping[str, Any] | None = None,
        namespace: str = "default",
        id: str = "",
        timeout: float | None = WAIT_FOR_ROW,
    ) -> Registration:
        return await self._done(
            self.client.register(service, port, meta=meta, namespace=namespace, id=id, timeout=timeout)
        )

    async def update(
        self,
        id: str,
        *,
        port: int | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout: float | None = WAIT_FOR_ROW,
    ) -> Registration:
        return await self._done(self.client.update(id, port=port, meta=meta, timeout=timeout))

    async def free(self, id: str, *, timeout: float | None = WAIT_FOR_ROW) -> None:
        await self._done(self.client.free(id, timeout=timeout))

    async def query(
        self,
        match: str = "",
        *,
        namespace: str = "",
        app: str = "",
        release: str = "",
        meta: Mapping[str, Any] | None = None,
        near: str = "",
        timeout: float | None = PATIENCE,
    ) -> list[Registration]:
        return await self._done(
            self.client.query(
                match, namespace=namespace, app=app, release=release, meta=meta, near=near, timeout=timeout
            )
        )

    async def get(
        self,
        match: str = "",
        *,
        namespace: str = "",
        app: str = "",
        release: str = "",
        meta: Mapping[str, Any] | None = None,
        near: str = "",
        wait: float | None = WAIT_FOR_ROW,
    ) -> list[Registration]:
        return await self._done(
            self.client.get(match, namespace=namespace, app=app, release=release, meta=meta, near=near, wait=wait)
        )

    def watch(
        self, match: str = "", *, since: str = "", namespace: str = "", app: str = "", release: str = ""
    ) -> Events:
        """An asynchronous iterator of RowEvents; close it with ``aclose``, or use it in ``contextlib.aclosing``."""
        stream = self.client.watch(match, since=since, namespace=namespace, app=app, release=release)
        return Events(stream, self._loop)

    def _done(self, deferred: Deferred[T]) -> asyncio.Future[T]:
        return deferred.asFuture(self._loop)


class Events:
    """A RowStream on asyncio."""

    def __init__(self, stream: RowStream, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop

    @property
    def position(self) -> str:
        """Where to go on from: what is to be given as ``since``."""
        return self._stream.position

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> RowEvent:
        event = await self._stream.next().asFuture(self._loop)
        if event is None:
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        await self._stream.close().asFuture(self._loop)


def _prepare() -> None:
    """Import what takes a while where nobody waits for it."""
    import deployd.client.owner
    import deployd.net.identity  # noqa: F401
