"""The synchronous client with the methods of the asynchronous one, so that one test tries both. Each call runs in a
thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from tidings_client import Accepted, AsyncTidings, Channel, Event, Gap, Page, Publishable, Subscription, Tidings

Item: TypeAlias = "Event[Any] | Gap"


class Threads:
    """A `Tidings` behind the interface of `AsyncTidings`."""

    def __init__(self, bus: Tidings) -> None:
        self.bus = bus

    async def publish(self, event: Publishable, /, **options: Any) -> Accepted:
        return await asyncio.to_thread(self.bus.publish, event, **options)

    async def publish_all(self, events: Iterable[Publishable], **options: Any) -> list[Accepted]:
        return await asyncio.to_thread(self.bus.publish_all, events, **options)

    def subscribe(self, *channels: Any, **options: Any) -> ThreadSubscription:
        return ThreadSubscription(self.bus.subscribe(*channels, **options))

    async def history(self, *channels: Any, **options: Any) -> Page[Any]:
        return await asyncio.to_thread(self.bus.history, *channels, **options)

    async def channels(self) -> list[Channel]:
        return await asyncio.to_thread(self.bus.channels)

    async def types(self) -> dict[str, dict[str, Any]]:
        return await asyncio.to_thread(self.bus.types)


class ThreadSubscription:
    """A `Subscription` behind the interface of `AsyncSubscription`."""

    def __init__(self, subscription: Subscription[Any]) -> None:
        self._subscription = subscription

    @property
    def cursor(self) -> str | None:
        return self._subscription.cursor

    async def __aenter__(self) -> ThreadSubscription:
        await asyncio.to_thread(self._subscription.__enter__)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._subscription.close)

    def __aiter__(self) -> ThreadSubscription:
        return self

    async def __anext__(self) -> Item:
        item = await asyncio.to_thread(next, self._subscription, None)
        if item is None:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        await asyncio.to_thread(self._subscription.close)


@asynccontextmanager
async def connected(kind: str, *arguments: Any, **options: Any) -> AsyncGenerator[AsyncTidings | Threads]:
    """A client of a kind, `asyncio` or `threads`."""
    if kind == "asyncio":
        async with AsyncTidings(*arguments, **options) as bus:
            yield bus
    else:
        with Tidings(*arguments, **options) as bus:
            yield Threads(bus)


async def take(items: Any, count: int, seconds: float = 30) -> list[Any]:
    """The next items of a subscription."""
    taken: list[Any] = []

    async def run() -> None:
        while len(taken) < count:
            taken.append(await anext(items))

    try:
        await asyncio.wait_for(run(), seconds)
    except asyncio.TimeoutError:
        raise AssertionError(f"only {len(taken)} of {count} items came: {taken}") from None
    return taken


async def until(condition: Callable[[], bool], what: str = "it", seconds: float = 20) -> None:
    """Waits for a condition, and lets the event loop run meanwhile."""
    end = asyncio.get_running_loop().time() + seconds
    while not await asyncio.to_thread(condition):
        assert asyncio.get_running_loop().time() < end, f"{what} did not happen"
        await asyncio.sleep(0.01)
