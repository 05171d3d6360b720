"""What a program with asyncio does to a subscription: it cancels, times out, closes and forgets."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest
from both import take, until
from daemon import Daemon, Proxy, order, publish

from tidings_client import AsyncTidings, Event, OrderStatusChange

pytestmark = pytest.mark.anyio

SHIPPED = OrderStatusChange(orderId="o-1", newStatus="shipped")


@pytest.fixture
def proxy(shared: Daemon) -> Iterator[Proxy]:
    with Proxy(shared.port) as proxy:
        yield proxy


async def test_a_timeout_costs_neither_an_item_nor_the_connection(shared: Daemon, proxy: Proxy) -> None:
    async with AsyncTidings(proxy.url) as bus, bus.subscribe(OrderStatusChange) as events:
        for number in range(3):
            for _ in range(5):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(anext(events), 0.02)
            publish(shared, [order(number)])
            item = await asyncio.wait_for(anext(events), 20)
            assert isinstance(item, Event)
            assert item.data.orderId == f"o-{number}"
        assert proxy.connections == 1


async def test_short_timeouts_get_through_a_reconnect(shared: Daemon, proxy: Proxy) -> None:
    """A pause between two attempts does not begin anew with each wait."""
    async with AsyncTidings(proxy.url) as bus, bus.subscribe(OrderStatusChange) as events:
        proxy.cut()
        publish(shared, [order(7)])
        items: list[object] = []

        async def poll() -> None:
            while not items:
                try:
                    items.append(await asyncio.wait_for(anext(events), 0.02))
                except asyncio.TimeoutError:
                    continue

        await asyncio.wait_for(poll(), 20)
        assert isinstance(items[0], Event)


async def test_a_cancelled_beginning_leaves_nothing_behind(shared: Daemon, proxy: Proxy) -> None:
    async with AsyncTidings(proxy.url) as bus:
        proxy.freeze()
        subscription = bus.subscribe(OrderStatusChange)
        task = asyncio.ensure_future(subscription.__aenter__())
        await until(lambda: proxy.connections == 1, "the connection")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.mend()
        with pytest.raises(RuntimeError, match="closed"):
            await subscription.__aenter__()


async def test_another_task_ends_the_loop(shared: Daemon) -> None:
    async with AsyncTidings(shared.url) as bus:
        for close in ("subscription", "bus"):
            subscription = bus.subscribe(OrderStatusChange)
            entered = asyncio.Event()

            async def loop(subscription: object = subscription, entered: asyncio.Event = entered) -> str:
                async with subscription as events:  # type: ignore[attr-defined] # pyright: ignore
                    entered.set()
                    async for _ in events:  # pyright: ignore
                        pass
                return "ended"

            task = asyncio.ensure_future(loop())
            await entered.wait()
            await asyncio.sleep(0)
            await (subscription.aclose() if close == "subscription" else bus.aclose())
            assert await asyncio.wait_for(task, 10) == "ended"
            await subscription.aclose()


async def test_the_loop_ends_during_a_pause(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings_client._retry.MIN_DELAY", 1e6)
    monkeypatch.setattr("tidings_client._retry.MAX_DELAY", 1e6)
    async with AsyncTidings(proxy.url) as bus, bus.subscribe(OrderStatusChange) as events:
        proxy.close()
        task = asyncio.ensure_future(take(events, 1))
        await asyncio.sleep(0.1)
        await events.aclose()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(task, 10)


def test_a_cancelled_step_is_performed_again(shared: Daemon, proxy: Proxy) -> None:
    """As by a program that cancels all tasks that it finds."""
    asyncio.run(cancelling(shared, proxy))


async def cancelling(shared: Daemon, proxy: Proxy) -> None:
    async with AsyncTidings(proxy.url) as bus, bus.subscribe(OrderStatusChange) as events:
        mine = asyncio.current_task()
        for _ in range(3):
            waiting = asyncio.ensure_future(take(events, 1))
            await asyncio.sleep(0.05)
            for task in asyncio.all_tasks() - {mine, waiting}:
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        publish(shared, [order(3)])
        [item] = await take(events, 1)
        assert item.data.orderId == "o-3"


async def test_a_break_and_a_second_loop_go_on(shared: Daemon) -> None:
    async with AsyncTidings(shared.url) as bus, bus.subscribe(OrderStatusChange) as events:
        publish(shared, [order(1), order(2)])
        seen: list[str] = []
        for _ in range(2):
            async for item in events:
                assert isinstance(item, Event)
                seen.append(item.data.orderId)
                break
        assert seen == ["o-1", "o-2"]


async def test_an_exception_in_the_loop_closes_the_connection(shared: Daemon) -> None:
    async with AsyncTidings(shared.url) as bus:
        with pytest.raises(LookupError):
            async with bus.subscribe("finance-change") as events:
                publish(shared, [{"type": "finance-change", "data": REFUND}])
                async for _ in events:
                    raise LookupError
        await until(lambda: shared.subscribers("finance-change") == 0, "the end of the connection")


REFUND = {"entity": "refund", "id": "1", "amountMinor": 5, "currency": "EUR"}


async def test_a_forgotten_subscription_is_closed_with_a_warning(shared: Daemon) -> None:
    async with AsyncTidings(shared.url) as bus:
        subscription = bus.subscribe("finance-change", since="now")
        publish(shared, [{"type": "finance-change", "data": REFUND}])
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(subscription), 0.2)
        await until(lambda: shared.subscribers("finance-change") == 1, "the connection")
        with pytest.warns(ResourceWarning, match="was not closed"):
            del subscription
            gc.collect()
        await until(lambda: shared.subscribers("finance-change") == 0, "the end of the connection")


async def test_two_tasks_cannot_wait_for_one_subscription(shared: Daemon) -> None:
    async with AsyncTidings(shared.url) as bus, bus.subscribe(OrderStatusChange) as events:
        first = asyncio.ensure_future(take(events, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="waits for this subscription already"):
            await anext(events)
        await bus.publish(SHIPPED)
        assert len(await first) == 1


async def test_a_cancelled_publish_is_cancelled(proxy: Proxy) -> None:
    async with AsyncTidings(proxy.url) as bus:
        proxy.freeze()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(bus.publish(SHIPPED), 0.2)
        proxy.mend()
        assert (await bus.publish(SHIPPED)).type == "order-status"


async def test_many_subscriptions_and_publications_at_once(shared: Daemon) -> None:
    """More than the 100 connections that httpx allows by default."""
    async with AsyncTidings(shared.url) as bus:
        subscriptions = [bus.subscribe(OrderStatusChange) for _ in range(120)]
        await asyncio.gather(*(subscription.__aenter__() for subscription in subscriptions))
        await asyncio.gather(*(bus.publish(SHIPPED) for _ in range(10)))
        items = await asyncio.gather(*(take(subscription, 10) for subscription in subscriptions))
        assert {len(taken) for taken in items} == {10}


def test_one_client_in_several_event_loops(shared: Daemon) -> None:
    """As in scripts that call `asyncio.run` more than once, each time with a client of its own."""

    async def run() -> str:
        async with AsyncTidings(shared.url) as bus:
            return (await bus.publish(SHIPPED)).type

    assert [asyncio.run(run()) for _ in range(2)] == ["order-status"] * 2
