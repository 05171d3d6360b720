"""Cuts of every kind: the subscription goes on after the last item, with nothing lost or doubled."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from both import take, until
from conftest import Connect
from daemon import OWN_TYPES, Daemon, Proxy, order, publish

from tidings_client import Event, Gap, OrderStatusChange

pytestmark = pytest.mark.anyio


@pytest.fixture
def proxy(shared: Daemon) -> Iterator[Proxy]:
    with Proxy(shared.port) as proxy:
        yield proxy


def numbers(items: list[Any]) -> list[int]:
    """The numbers of events that `order` made."""
    return [int(item.data.orderId.removeprefix("o-")) for item in items]


async def test_a_cut_between_events(shared: Daemon, proxy: Proxy, connect: Connect) -> None:
    async with connect(proxy.url) as bus, bus.subscribe(OrderStatusChange) as events:
        publish(shared, [order(1)])
        assert numbers(await take(events, 1)) == [1]
        for number in range(2, 6):
            proxy.close()
            publish(shared, [order(number)])
            proxy.mend()
            assert numbers(await take(events, 1)) == [number]


async def test_a_cut_before_the_first_event(shared: Daemon, proxy: Proxy, connect: Connect) -> None:
    async with connect(proxy.url) as bus, bus.subscribe(OrderStatusChange) as events:
        proxy.close()
        publish(shared, [order(1)])
        proxy.mend()
        assert numbers(await take(events, 1)) == [1]


async def test_cuts_in_the_middle_of_everything(
    shared: Daemon, proxy: Proxy, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection ends after a few more bytes than the one before: in its head, in an id, in the data, between
    blocks."""
    monkeypatch.setattr("tidings_client._retry.MAX_DELAY", 0.02)
    count = 60
    async with connect(proxy.url) as bus, bus.subscribe(OrderStatusChange) as events:
        proxy.cuts = list(range(300, 2000, 53))
        proxy.cut()
        publish(shared, [order(number) for number in range(count)])
        assert numbers(await take(events, count, 60)) == list(range(count))
        assert proxy.connections > 10
        proxy.cuts = []
        publish(shared, [order(count)])
        assert numbers(await take(events, 1)) == [count]


async def test_cuts_under_load(shared: Daemon, proxy: Proxy, connect: Connect) -> None:
    count = 1500
    async with connect(proxy.url) as bus, bus.subscribe(OrderStatusChange) as events:
        done = threading.Event()

        def publishing() -> None:
            for first in range(0, count, 50):
                publish(shared, [order(number) for number in range(first, first + 50)])
            done.set()

        def cutting() -> None:
            while not done.wait(0.05):
                proxy.cut()

        threads = [threading.Thread(target=target) for target in (publishing, cutting)]
        for thread in threads:
            thread.start()
        items = await take(events, count, 120)
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert numbers(items) == list(range(count))


async def test_a_frozen_connection_is_replaced(shared: Daemon, proxy: Proxy, connect: Connect, caplog: Any) -> None:
    async with connect(proxy.url) as bus, bus.subscribe(OrderStatusChange, heartbeat_timeout=2.5) as events:
        publish(shared, [order(1)])
        assert numbers(await take(events, 1)) == [1]
        proxy.freeze()
        publish(shared, [order(2)])
        waiting = asyncio.ensure_future(take(events, 1))
        await until(lambda: "nothing has come" in caplog.text, "the end of the frozen connection")
        proxy.mend()
        assert numbers(await waiting) == [2]


async def test_heartbeats_keep_a_quiet_connection(shared: Daemon, proxy: Proxy, connect: Connect, caplog: Any) -> None:
    async with connect(proxy.url) as bus, bus.subscribe(OrderStatusChange, heartbeat_timeout=2.5) as events:
        waiting = asyncio.ensure_future(take(events, 1))
        done, _ = await asyncio.wait({waiting}, timeout=4)
        assert not done
        assert proxy.connections == 1
        publish(shared, [order(1)])
        assert numbers(await waiting) == [1]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_kill_and_a_restart_with_the_log_kept(tmp_path: Any, connect: Connect) -> None:
    with Daemon("--broker", f"file:{tmp_path}") as daemon:
        async with connect(daemon.url) as bus, bus.subscribe(OrderStatusChange) as events:
            publish(daemon, [order(1)])
            assert numbers(await take(events, 1)) == [1]
            for number in range(2, 5):
                daemon.kill()
                daemon.restart()
                publish(daemon, [order(number)])
                assert numbers(await take(events, 1)) == [number]


async def test_a_kill_with_the_log_lost_is_a_gap(connect: Connect) -> None:
    with Daemon() as daemon:
        async with connect(daemon.url) as bus, bus.subscribe(OrderStatusChange) as events:
            publish(daemon, [order(1)])
            [event] = await take(events, 1)
            daemon.kill()
            daemon.restart()
            publish(daemon, [order(2)])
            gap, after = await take(events, 2)
            assert isinstance(gap, Gap)
            assert (gap.channel, gap.from_) == ("order-status", event.position)
            assert isinstance(after, Event)
            assert numbers([after]) == [2]


async def test_a_type_that_is_new_after_a_restart(tmp_path: Any, connect: Connect) -> None:
    """A subscription to all channels gets the events of its channel, too."""
    with Daemon("--broker", f"file:{tmp_path}") as daemon:
        async with connect(daemon.url) as bus, bus.subscribe() as events:
            publish(daemon, [order(1)])
            assert (await take(events, 1))[0].type == "order-status"
            daemon.kill()
            daemon.restart("--schemas", str(OWN_TYPES))
            price = {"sku": "a", "price": {"amount": 1, "currency": "EUR"}}
            publish(daemon, [order(2), {"type": "price-change", "data": price}])
            assert {item.type for item in await take(events, 2)} == {"order-status", "price-change"}


async def test_a_drain(tmp_path: Any, connect: Connect, caplog: Any) -> None:
    with Daemon("--broker", f"file:{tmp_path}", "--drain", "1s") as daemon:
        async with connect(daemon.url) as bus, bus.subscribe(OrderStatusChange) as events:
            publish(daemon, [order(1)])
            assert numbers(await take(events, 1)) == [1]
            waiting = asyncio.ensure_future(take(events, 1))
            await asyncio.to_thread(daemon.terminate)
            await asyncio.to_thread(daemon.restart)
            publish(daemon, [order(2)])
            assert numbers(await waiting) == [2]
            assert "ended: this node is about to stop; resuming in" in caplog.text


async def test_another_node_takes_over(redis: str, connect: Connect) -> None:
    with Daemon("--broker", redis) as first, Daemon("--broker", redis) as second:
        async with connect([first.url, second.url]) as bus, bus.subscribe(OrderStatusChange) as events:
            publish(second, [order(1)])
            assert numbers(await take(events, 1)) == [1]
            first.kill()
            publish(second, [order(2)])
            assert numbers(await take(events, 1)) == [2]
            assert (await bus.publish(OrderStatusChange(orderId="o-3", newStatus="shipped"))).type == "order-status"
            assert numbers(await take(events, 1)) == [3]


async def test_a_program_that_starts_again_goes_on_at_the_cursor(shared: Daemon, connect: Connect) -> None:
    async with connect(shared.url) as bus:
        async with bus.subscribe(OrderStatusChange, "inventory-change") as events:
            publish(shared, [order(1), order(2), order(3)])
            cursor = (await take(events, 2))[1].cursor
        async with bus.subscribe(OrderStatusChange, "inventory-change", since=cursor) as events:
            assert numbers(await take(events, 1)) == [3]


@pytest.mark.parametrize("connect", ["asyncio"], indirect=True)
async def test_a_slow_program_loses_nothing(connect: Connect, caplog: Any) -> None:
    """The daemon ends the connection of a subscriber that is too far behind; the client resumes from the log."""
    count = 120
    price = {"amount": 1, "currency": "EUR"}
    flags = ("--outbox-bytes", "128KiB", "--schemas", str(OWN_TYPES))
    with Daemon(*flags) as daemon:
        async with connect(daemon.url) as bus, bus.subscribe("price-change") as events:
            for number in range(count):
                data = {"sku": str(number), "price": price, "labels": {"a": "x" * 60_000}}
                publish(daemon, [{"type": "price-change", "data": data}])
            items = await take(events, count, 60)
        assert [item.data["sku"] for item in items] == [str(number) for number in range(count)]
        assert "resuming in" in caplog.text
