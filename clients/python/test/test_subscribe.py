"""Subscriptions to the real daemon, while nothing breaks."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any, Literal
from uuid import uuid4

import pytest
from both import take, until
from conftest import Connect
from daemon import Daemon, order, publish

from tidings_client import (
    ConnectionFailedError,
    DataError,
    Event,
    EventData,
    Gap,
    InvalidError,
    InventoryChange,
    OrderStatusChange,
    ProblemError,
)

pytestmark = pytest.mark.anyio


def shipped(number: int | str) -> OrderStatusChange:
    return OrderStatusChange(orderId=f"o-{number}", newStatus="shipped")


async def test_what_is_published_after_the_beginning_arrives(shared: Daemon, connect: Connect) -> None:
    async with connect(shared.url) as bus, bus.subscribe(OrderStatusChange) as events:
        accepted = await bus.publish(shipped(1))
        [event] = await take(events, 1)
        assert (event.id, event.type, event.subject) == (accepted.id, "order-status", "o-1")
        assert (event.data, event.position) == (shipped(1), accepted.position)
        assert event.cursor == events.cursor == f"order-status={accepted.position}"
        assert abs(event.at - datetime.now(timezone.utc)) < timedelta(minutes=1)


async def test_names_give_dicts_and_classes_give_objects(shared: Daemon, connect: Connect) -> None:
    async with connect(shared.url) as bus:
        async with bus.subscribe("order-status", InventoryChange) as events:
            await bus.publish(shipped(1))
            await bus.publish(InventoryChange(productId="1", oldQuantity=1, newQuantity=0, reason="sale"))
            items = {item.type: item.data for item in await take(events, 2)}
        assert items["order-status"] == {"orderId": "o-1", "newStatus": "shipped"}
        assert isinstance(items["inventory-change"], InventoryChange)


async def test_all_channels_without_a_name(shared: Daemon, connect: Connect) -> None:
    async with connect(shared.url) as bus, bus.subscribe() as events:
        await bus.publish(shipped(1))
        await bus.publish({"type": "price-change", "data": {"sku": "a", "price": {"amount": 1, "currency": "EUR"}}})
        items = await take(events, 2)
        assert {item.type for item in items} == {"order-status", "price-change"}


async def test_the_daemon_filters(shared: Daemon, connect: Connect) -> None:
    me = str(uuid4())
    where: Any = {"customerId": [me], "newStatus": ["shipped", "delivered"], "orderId": {"prefix": "o-"}}
    async with connect(shared.url) as bus, bus.subscribe(OrderStatusChange, where=where) as events:
        for status in ("pending", "shipped", "cancelled", "delivered"):
            await bus.publish(OrderStatusChange(orderId="o-1", newStatus=status, customerId=me))
        await bus.publish(shipped(2))
        assert [item.data.newStatus for item in await take(events, 2)] == ["shipped", "delivered"]


async def test_where_and_since(shared: Daemon, connect: Connect) -> None:
    me = str(uuid4())
    async with connect(shared.url) as bus:
        before = datetime.now(timezone.utc)
        accepted = [
            await bus.publish(OrderStatusChange(orderId=f"o-{i}", newStatus="shipped", customerId=me)) for i in range(3)
        ]
        sinces = {
            "start": 3,
            "10m": 3,
            before - timedelta(seconds=1): 3,
            timedelta(minutes=10): 3,
            accepted[0].position: 2,
            f"order-status={accepted[1].position}": 1,
        }
        for since, count in sinces.items():
            async with bus.subscribe(OrderStatusChange, where={"customerId": me}, since=since) as events:
                assert [item.data.orderId for item in await take(events, count)] == ["o-0", "o-1", "o-2"][3 - count :]


@pytest.mark.parametrize(
    ("channels", "options", "code", "pointer"),
    [
        (["order-statu"], {}, "unknown-channel", None),
        ([OrderStatusChange], {"where": {"orderid": "1"}}, "unknown-field", "/where/orderid"),
        ([OrderStatusChange], {"where": {"newStatus": "lost"}}, "invalid-filter", "/where/newStatus"),
        ([OrderStatusChange], {"since": "yesterday"}, "invalid-position", None),
    ],
)
async def test_a_refusal_is_raised_where_the_subscription_begins(
    shared: Daemon, connect: Connect, channels: list[Any], options: Any, code: str, pointer: str | None
) -> None:
    async with connect(shared.url) as bus:
        with pytest.raises(InvalidError) as caught:
            async with bus.subscribe(*channels, **options):
                raise AssertionError("it stands")
        with pytest.raises(ProblemError):
            await anext(bus.subscribe(*channels, **options))
    assert caught.value.code == code
    if pointer is not None:
        assert caught.value.errors[0].pointer == pointer


async def test_a_daemon_that_is_not_there_fails_at_once(connect: Connect) -> None:
    async with connect("http://127.0.0.1:9") as bus:
        with pytest.raises(ConnectionFailedError, match="cannot reach the daemon at http:"):
            async with bus.subscribe(OrderStatusChange):
                raise AssertionError("it stands")


class Narrow(EventData, channel="order-status"):
    """Knows fewer fields than the type has."""

    orderId: str
    newStatus: Literal["pending", "shipped"]


async def test_fields_that_a_class_does_not_know_are_no_mistake(shared: Daemon, connect: Connect) -> None:
    async with connect(shared.url) as bus, bus.subscribe(Narrow) as events:
        await bus.publish(OrderStatusChange(orderId="o-1", newStatus="shipped", customerId="c"))
        [event] = await take(events, 1)
        assert event.data.orderId == "o-1"
        assert event.data.model_extra == {"customerId": "c"}


async def test_data_that_does_not_fit_is_raised_once_and_the_subscription_goes_on(
    shared: Daemon, connect: Connect
) -> None:
    async with connect(shared.url) as bus, bus.subscribe(Narrow) as events:
        for status in ("pending", "returned", "shipped"):
            await bus.publish({"type": "order-status", "data": {"orderId": "o-1", "newStatus": status}})
        assert (await take(events, 1))[0].data.newStatus == "pending"
        with pytest.raises(DataError, match="does not fit Narrow") as caught:
            await take(events, 1)
        assert caught.value.event.data == {"orderId": "o-1", "newStatus": "returned"}
        assert caught.value.event.cursor == events.cursor
        assert (await take(events, 1))[0].data.newStatus == "shipped"


async def test_a_gap_stands_where_the_events_were(connect: Connect) -> None:
    with Daemon("--log-max-events", "3") as daemon:
        async with connect(daemon.url) as bus:
            first, *_ = [await bus.publish(shipped(number)) for number in range(1, 9)]
            async with bus.subscribe(OrderStatusChange, since=first.position) as events:
                gap, *rest = await take(events, 4)
            assert isinstance(gap, Gap)
            assert (gap.channel, gap.from_) == ("order-status", first.position)
            assert [item.data.orderId for item in rest] == ["o-6", "o-7", "o-8"]
            # Whoever saved the cursor of the gap goes on behind it.
            async with bus.subscribe(OrderStatusChange, since=gap.cursor) as events:
                assert [item.data.orderId for item in await take(events, 3)] == ["o-6", "o-7", "o-8"]
            page = await bus.history(OrderStatusChange, since=first.position)
            assert [type(item) for item in page] == [Gap, Event, Event, Event]
            assert page.gaps[0].position == gap.position
            assert [event.data.orderId for event in page.events] == ["o-6", "o-7", "o-8"]


async def test_pages_go_on_at_their_cursor(shared: Daemon, connect: Connect) -> None:
    me = str(uuid4())
    async with connect(shared.url) as bus:
        for number in range(5):
            await bus.publish(OrderStatusChange(orderId=f"o-{number}", newStatus="shipped", customerId=me))
        seen: list[str] = []
        cursor = "start"
        while True:
            page = await bus.history(OrderStatusChange, where={"customerId": me}, since=cursor, limit=2)
            seen += [event.data.orderId for event in page.events]
            if page.cursor == cursor:
                break
            cursor = page.cursor
        assert seen == [f"o-{number}" for number in range(5)]
        assert not (await bus.history(OrderStatusChange, since=cursor, wait=1)).items


async def test_the_cursor_moves_while_a_filter_keeps_events_back(shared: Daemon, connect: Connect) -> None:
    me = str(uuid4())
    async with connect(shared.url) as bus, bus.subscribe(OrderStatusChange, where={"customerId": me}) as events:
        publish(shared, [order(1)] * 5)
        # The daemon sends the cursor at a heartbeat, which comes before what is published then.
        before = events.cursor
        others = await bus.history(OrderStatusChange, since="now")
        waiting = take(events, 1)
        task = asyncio.ensure_future(waiting)
        await until(lambda: events.cursor != before, "a heartbeat with a cursor")
        assert events.cursor == others.cursor
        await bus.publish(OrderStatusChange(orderId="o-9", newStatus="shipped", customerId=me))
        assert (await task)[0].data.orderId == "o-9"


async def test_channels_and_types(shared: Daemon, connect: Connect) -> None:
    async with connect(shared.url) as bus, bus.subscribe("data-update"):
        channels = {channel.type: channel for channel in await bus.channels()}
        types = await bus.types()
    assert set(channels) == set(types) == {
        "cache-invalidate", "data-update", "inventory-change", "order-status", "finance-change", "price-change",
    }  # fmt: skip
    assert channels["data-update"].subscribers == 1
    assert channels["data-update"].rate_per_second is not None
    assert channels["data-update"].schema == types["data-update"]["$id"]
    assert types["price-change"]["x-tidings-key"] == "sku"


async def test_many_channels_have_packed_cursors(connect: Connect, tmp_path: Any) -> None:
    names = [f"type-{number:03}-{'x' * 40}" for number in range(40)]
    for name in names:
        (tmp_path / f"{name}.schema.json").write_text('{"type": "object", "properties": {"n": {"type": "integer"}}}')
    with Daemon("--schemas", str(tmp_path)) as daemon:
        async with connect(daemon.url) as bus:
            async with bus.subscribe(*names) as events:
                await bus.publish_all({"type": name, "data": {"n": 1}} for name in names[:20])
                items = await take(events, 20)
            assert items[4].cursor.startswith("c.")
            assert items[4].position is None
            async with bus.subscribe(*names, since=items[4].cursor) as events:
                rest = await take(events, 15)
            assert {item.type for item in rest} == set(names[:20]) - {item.type for item in items[:5]}
