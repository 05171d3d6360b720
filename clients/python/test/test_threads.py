"""What a program with threads does to a subscription."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from daemon import Daemon, Proxy, order, publish, wait_for

from tidings_client import Event, OrderStatusChange, Tidings

SHIPPED = OrderStatusChange(orderId="o-1", newStatus="shipped")


@pytest.fixture
def proxy(shared: Daemon) -> Iterator[Proxy]:
    with Proxy(shared.port) as proxy:
        yield proxy


@pytest.mark.parametrize("what", ["subscription", "bus"])
def test_another_thread_ends_the_loop(shared: Daemon, what: str) -> None:
    with Tidings(shared.url) as bus:
        subscription = bus.subscribe(OrderStatusChange)
        entered = threading.Event()

        def loop() -> str:
            with subscription as events:
                entered.set()
                for _ in events:
                    pass
            return "ended"

        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(loop)
            assert entered.wait(20)
            (subscription if what == "subscription" else bus).close()
            assert ended.result(20) == "ended"


def test_the_loop_ends_during_a_pause(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr("tidings_client._retry.MIN_DELAY", 1e6)
    monkeypatch.setattr("tidings_client._retry.MAX_DELAY", 1e6)
    with Tidings(proxy.url) as bus, bus.subscribe(OrderStatusChange) as events, ThreadPoolExecutor(1) as pool:
        proxy.close()
        ended = pool.submit(lambda: list(events))
        wait_for(lambda: "resuming in" in caplog.text, "the cut")
        events.close()
        assert ended.result(20) == []


def test_a_subscription_that_is_no_longer_referenced_is_closed(shared: Daemon) -> None:
    with Tidings(shared.url) as bus:
        refund = {"entity": "refund", "id": "1", "amountMinor": 5, "currency": "EUR"}
        publish(shared, [{"type": "finance-change", "data": refund}])
        for item in bus.subscribe("finance-change", since="start"):
            assert isinstance(item, Event)
            break
        gc.collect()
        wait_for(lambda: shared.subscribers("finance-change") == 0, "the end of the connection")


def test_two_threads_cannot_wait_for_one_subscription(shared: Daemon) -> None:
    with Tidings(shared.url) as bus, bus.subscribe(OrderStatusChange) as events, ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, events)
        wait_for(lambda: first.running(), "the first thread")

        def second() -> bool:
            try:
                next(events)
            except RuntimeError:
                return True
            return False

        wait_for(second, "the refusal")
        bus.publish(SHIPPED)
        assert isinstance(first.result(20), Event)


def test_threads_share_a_client(shared: Daemon) -> None:
    calls: list[str] = []

    def token() -> str:
        calls.append("")
        return "tdg_any"

    with Tidings(shared.url, token=token) as bus, ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(bus.publish, [SHIPPED] * 40))
    assert len({entry.position for entry in accepted}) == 40
    assert len(calls) == 1


def test_an_interrupt_loses_nothing(shared: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a read: a program that goes on gets the next item."""
    with Tidings(shared.url) as bus, bus.subscribe(OrderStatusChange) as events:
        publish(shared, [order(1)])
        assert isinstance(next(events), Event)
        perform = events._io.perform  # pyright: ignore[reportPrivateUsage]

        def interrupted(step: Any) -> Any:
            monkeypatch.setattr(events._io, "perform", perform)  # pyright: ignore[reportPrivateUsage]
            raise KeyboardInterrupt

        monkeypatch.setattr(events._io, "perform", interrupted)  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(KeyboardInterrupt):
            next(events)
        publish(shared, [order(2)])
        item = next(events)
        assert isinstance(item, Event)
        assert item.data.orderId == "o-2"
