"""What type checkers, and so editors, know. mypy and pyright check this file; its functions are never called."""

from __future__ import annotations

from typing import Any

from own_types import PriceChange
from typing_extensions import assert_type

from tidings_client import (
    Accepted,
    AsyncSubscription,
    AsyncTidings,
    Event,
    EventData,
    Gap,
    InventoryChange,
    OrderStatusChange,
    Page,
    Subscription,
    Tidings,
)
from tidings_client.types import OrderStatus


def test_the_checkers_read_this() -> None:
    """`make test-python-client` runs them."""


async def asynchronous(bus: AsyncTidings) -> None:
    assert_type(bus.subscribe(InventoryChange), AsyncSubscription[InventoryChange])
    assert_type(bus.subscribe("inventory-change"), AsyncSubscription[dict[str, Any]])
    assert_type(bus.subscribe(), AsyncSubscription[dict[str, Any]])
    assert_type(bus.subscribe(InventoryChange, "order-status"), AsyncSubscription[Any])
    async with bus.subscribe(InventoryChange, where={"productId": ["1", "2"], "reason": {"prefix": "s"}}) as events:
        async for item in events:
            assert_type(item, Event[InventoryChange] | Gap)
            if isinstance(item, Gap):
                assert_type(item.channel, str)
                continue
            assert_type(item.data, InventoryChange)
            assert_type(item.data.newQuantity, int)
            assert_type(item.data.variantId, str | None)
            assert_type(item.cursor, str)
    assert_type(
        await bus.publish(InventoryChange(productId="1", oldQuantity=1, newQuantity=2, reason="sale")), Accepted
    )
    assert_type(await bus.history(PriceChange, since="1h"), Page[PriceChange])
    assert_type((await bus.history(PriceChange)).events, list[Event[PriceChange]])


def synchronous(bus: Tidings) -> None:
    assert_type(bus.subscribe(OrderStatusChange), Subscription[OrderStatusChange])
    with bus.subscribe(OrderStatusChange) as events:
        assert_type(next(events), Event[OrderStatusChange] | Gap)
        for item in events:
            match item:
                case Gap(channel=channel):
                    assert_type(channel, str)
                case Event(data=data):
                    assert_type(data, OrderStatusChange)
                    status: OrderStatus = data.newStatus
                    assert status


def several(bus: Tidings) -> None:
    for item in bus.subscribe(OrderStatusChange, PriceChange):
        if isinstance(item, Gap):
            continue
        general: Event[EventData] = item
        assert general
        if isinstance(item.data, PriceChange):
            assert_type(item.data.price.amount, int)


def mistakes(bus: Tidings) -> None:
    OrderStatusChange(orderId="1", newStatus="lost")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    OrderStatusChange(orderId="1")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    OrderStatusChange(orderid="1", newStatus="shipped")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    bus.publish(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    bus.subscribe(OrderStatusChange, since=1)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    Tidings(token=1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    for item in bus.subscribe(OrderStatusChange):
        item.data  # type: ignore[union-attr] # pyright: ignore # noqa: B018
