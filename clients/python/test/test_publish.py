"""Publishing to the real daemon."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from both import until
from conftest import Connect
from daemon import Daemon

from tidings_client import (
    CacheInvalidate,
    Channel,
    ConnectionFailedError,
    EventData,
    InvalidError,
    InventoryChange,
    NewEvent,
    OrderStatusChange,
    ProblemError,
    Tidings,
)

pytestmark = pytest.mark.anyio

SALE = InventoryChange(productId="123", oldQuantity=100, newQuantity=95, reason="sale")


async def test_data_of_a_class_is_published_under_its_channel(shared: Daemon, connect: Connect) -> None:
    async with connect(shared.url) as bus:
        accepted = await bus.publish(SALE)
        page = await bus.history(InventoryChange)
    assert accepted.type == "inventory-change"
    assert not accepted.duplicate
    event = page.events[-1]
    assert (event.id, event.position, event.data) == (accepted.id, accepted.position, SALE)
    assert event.subject == "123"


async def test_attributes_are_passed_on(shared: Daemon, connect: Connect) -> None:
    time = datetime(2026, 11, 21, 10, 0, 0, 250_000, timezone(timedelta(hours=1)))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with connect(shared.url) as bus:
        await bus.publish(SALE, source="/shop", subject="p-1", time=time, extensions={"traceparent": trace, "level": 3})
        event = (await bus.history(InventoryChange)).events[-1]
    assert (event.source, event.subject, event.time) == ("/shop", "p-1", "2026-11-21T09:00:00.250000Z")
    assert event.at == time
    assert (event.attributes["traceparent"], event.attributes["level"]) == (trace, 3)


async def test_several_events_keep_their_order(shared: Daemon, connect: Connect) -> None:
    events = [
        OrderStatusChange(orderId="o-1", newStatus="pending"),
        NewEvent(CacheInvalidate(tags=["product:1"]), source="/shop"),
        NewEvent({"orderId": "o-1", "newStatus": "shipped"}, type="order-status"),
        {"type": "order-status", "data": {"orderId": "o-1", "newStatus": "delivered"}},
    ]
    async with connect(shared.url) as bus:
        accepted = await bus.publish_all(events)
        statuses = [event.data["newStatus"] for event in (await bus.history("order-status", limit=1000)).events[-3:]]
    assert [entry.type for entry in accepted] == ["order-status", "cache-invalidate", "order-status", "order-status"]
    assert statuses == ["pending", "shipped", "delivered"]
    assert len({entry.id for entry in accepted}) == 4


async def test_nothing_and_generators_are_published(shared: Daemon, connect: Connect) -> None:
    async with connect(shared.url) as bus:
        assert await bus.publish_all([]) == []
        assert len(await bus.publish_all(SALE for _ in range(3))) == 3


async def test_the_same_id_is_taken_once(shared: Daemon, connect: Connect) -> None:
    async with connect(shared.url) as bus:
        id = str(uuid4())
        first = await bus.publish(SALE, id=id)
        second = await bus.publish(SALE, id=id)
    assert (second.position, second.duplicate) == (first.position, True)


async def test_a_channel_counts_what_was_published_and_refused(connect: Connect) -> None:
    with Daemon() as daemon:
        async with connect(daemon.url) as bus:
            await bus.publish_all([SALE, SALE])
            await bus.publish(SALE, id="a")
            await bus.publish(SALE, id="a")
            with pytest.raises(InvalidError):
                await bus.publish({"type": "inventory-change", "data": {}})

            def sales() -> Channel:
                with Tidings(daemon.url) as reader:
                    return next(channel for channel in reader.channels() if channel.type == "inventory-change")

            # The current second counts when it is over.
            await until(lambda: bool(sales().rate_per_second), "a rate")
            listed = {channel.type: channel for channel in await bus.channels()}["inventory-change"]
    assert (listed.retained, listed.published, listed.duplicates, listed.refused) == (3, 3, 1, 1)


async def test_a_refusal_has_every_mistake(shared: Daemon, connect: Connect) -> None:
    async with connect(shared.url) as bus:
        good = {"type": "order-status", "data": {"orderId": "o-1", "newStatus": "shipped"}}
        bad = {"type": "order-status", "id": "mine", "data": {"orderid": "o-1", "newStatus": "sent"}}
        with pytest.raises(InvalidError) as caught:
            await bus.publish_all([good, bad])
        head = (await bus.channels())[0]
    error = caught.value
    assert (error.code, error.status) == ("invalid-event", 422)
    assert {mistake.pointer for mistake in error.errors} == {"/1/data/orderId", "/1/data/newStatus", "/1/data/orderid"}
    assert "/1/data/orderId: is required" in str(error)
    assert error.ids[1] == "mine"
    assert len(error.ids) == 2
    assert not error.may_be_published
    assert error.request_id
    assert head.type == "cache-invalidate"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "no-such-type", "data": {}}, "unknown-type"),
        ({"data": {}}, "invalid-event"),
        ([SALE for _ in range(1001)], "payload-too-large"),
    ],
)
async def test_other_refusals_have_their_codes(shared: Daemon, connect: Connect, event: Any, code: str) -> None:
    async with connect(shared.url) as bus:
        with pytest.raises(ProblemError) as caught:
            await (bus.publish_all(event) if code == "payload-too-large" else bus.publish(event))
    assert caught.value.code == code


async def test_numbers_are_exact(shared: Daemon, connect: Connect) -> None:
    amount = 2**53 + 1
    data: dict[str, Any] = {"sku": "a", "price": {"amount": amount, "currency": "EUR"}, "parts": []}
    async with connect(shared.url) as bus:
        await bus.publish({"type": "price-change", "data": data})
        event = (await bus.history("price-change")).events[-1]
        assert event.data["price"]["amount"] == amount
        with pytest.raises(InvalidError, match="integer"):
            await bus.publish(
                {"type": "price-change", "data": {**data, "price": {"amount": Decimal("1.10"), "currency": "E"}}}
            )


async def test_a_daemon_that_is_not_there_fails_at_once(connect: Connect) -> None:
    async with connect("http://127.0.0.1:9") as bus:
        with pytest.raises(ConnectionFailedError, match="check the URL, and that the daemon is running") as caught:
            await bus.publish(SALE, id="mine")
    assert (caught.value.code, caught.value.ids, caught.value.may_be_published) == ("network", ("mine",), False)
    assert caught.value.__cause__ is not None


async def test_the_next_node_is_asked(shared: Daemon, connect: Connect) -> None:
    async with connect(["http://127.0.0.1:9", f"{shared.url}/"]) as bus:
        assert (await bus.publish(SALE)).type == "inventory-change"
        assert (await bus.history(InventoryChange)).events


class NoChannel(EventData):
    """A class that names no channel."""


def test_wrong_arguments_are_named_before_anything_is_sent() -> None:
    bus = Tidings("http://127.0.0.1:9")
    with pytest.raises(TypeError, match="NoChannel has no channel"):
        bus.publish(NoChannel())
    with pytest.raises(TypeError, match="needs a type"):
        bus.publish(NewEvent({"a": 1}))
    with pytest.raises(TypeError, match="not 'order-status'"):
        bus.publish("order-status")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="no time zone"):
        bus.publish(SALE, time=datetime(2026, 11, 21))
    with pytest.raises(ValueError, match="nan is not a number"):
        bus.publish({"type": "order-status", "data": {"orderId": float("nan")}})
    with pytest.raises(ValueError, match="named twice"):
        bus.subscribe("order-status", "order-status")
    with pytest.raises(TypeError, match="a name or a class"):
        bus.subscribe(dict)  # type: ignore[type-var] # pyright: ignore[reportCallIssue, reportArgumentType]
    with pytest.raises(TypeError, match="a str or a datetime"):
        bus.subscribe("order-status", since=5)  # type: ignore[call-overload] # pyright: ignore
    with pytest.raises(ValueError, match="since is empty"):
        bus.subscribe("order-status", since="")
    bus.close()
    with pytest.raises(RuntimeError, match="closed"):
        bus.publish(SALE)


@pytest.mark.parametrize("url", ["localhost:7400", "ws://localhost:7400", "http://", "http://a/?b=c", "http://a:b"])
def test_wrong_urls_are_named(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Tidings(url)
    with pytest.raises(ValueError, match="at least one node"):
        Tidings([])
