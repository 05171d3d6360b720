"""Tokens: what is sent, when a new one is fetched, and what a refusal means."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from both import take, until
from conftest import Connect
from daemon import Authority

from tidings_client import (
    AsyncTidings,
    AuthenticationError,
    ForbiddenError,
    InventoryChange,
    OrderStatusChange,
    Tidings,
    TokenError,
)

pytestmark = pytest.mark.anyio

SHIPPED = OrderStatusChange(orderId="o-1", newStatus="shipped")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with Authority(tmp_path_factory.mktemp("authority"), "--heartbeat", "1s") as authority:
        yield authority


async def test_a_token_as_text(authority: Authority, connect: Connect) -> None:
    async with connect(authority.daemon.url, token=f" {authority.all()}\n") as bus, bus.subscribe() as events:
        await bus.publish(SHIPPED)
        [event] = await take(events, 1)
        assert (event.data["orderId"], event.source) == ("o-1", "me")


async def test_no_token_and_a_wrong_one_are_refused_at_once(authority: Authority, connect: Connect) -> None:
    for options in ({}, {"token": "tdg_wrong"}, {"token": lambda: "tdg_wrong"}):
        async with connect(authority.daemon.url, **options) as bus:
            with pytest.raises(AuthenticationError) as caught:
                await bus.publish(SHIPPED)
            with pytest.raises(AuthenticationError):
                async with bus.subscribe(OrderStatusChange):
                    raise AssertionError("it stands")
        assert (caught.value.code, caught.value.status) == ("unauthenticated", 401)
        assert "wrong" not in str(caught.value)


async def test_a_missing_grant_is_forbidden(authority: Authority, connect: Connect) -> None:
    token = authority.token("--subscribe", "order-status:customerId=u1")
    async with connect(authority.daemon.url, token=token) as bus:
        with pytest.raises(ForbiddenError) as caught:
            await bus.publish(SHIPPED)
        with pytest.raises(ForbiddenError):
            async with bus.subscribe(InventoryChange):
                raise AssertionError("it stands")
        channels = await bus.channels()
        assert [(channel.type, channel.retained) for channel in channels] == [("order-status", None)]
        counts = ("subscribers", "rate_per_second", "published", "duplicates", "refused")
        assert [getattr(channels[0], name) for name in counts] == [None] * 5
    assert caught.value.code == "forbidden"


async def test_a_function_is_called_once_for_many_requests(authority: Authority, connect: Connect) -> None:
    calls = 0

    def token() -> str:
        nonlocal calls
        calls += 1
        return authority.all()

    async with connect(authority.daemon.url, token=token) as bus:
        await asyncio.gather(*(bus.publish(SHIPPED) for _ in range(8)))
    assert calls == 1


async def test_an_asynchronous_function(authority: Authority) -> None:
    async def token() -> str:
        await asyncio.sleep(0)
        return authority.all()

    async with AsyncTidings(authority.daemon.url, token=token) as bus:
        assert (await bus.publish(SHIPPED)).type == "order-status"
    wrong: Any = token
    with Tidings(authority.daemon.url, token=wrong) as threads, pytest.raises(TypeError, match="is asynchronous"):
        threads.publish(SHIPPED)


async def test_a_token_is_renewed_before_it_ends(authority: Authority, connect: Connect, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "tidings_client")
    tokens: list[str] = []

    def token() -> str:
        tokens.append(authority.all(ttl="2s"))
        return tokens[-1]

    async with connect(authority.daemon.url, token=token) as bus, bus.subscribe(OrderStatusChange) as events:
        waiting = asyncio.ensure_future(take(events, 2))
        await until(lambda: len(tokens) > 1, "the renewal")
        await bus.publish(SHIPPED)
        await bus.publish(SHIPPED)
        assert len(await waiting) == 2
    assert "with a new token" in caplog.text
    # It was not the daemon that ended the stream.
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_refused_token_is_replaced_once(authority: Authority, connect: Connect) -> None:
    sub = str(uuid4())
    second = authority.all(sub="second")
    given = [authority.all(sub=sub)]

    def token() -> str:
        return given[-1]

    async with connect(authority.daemon.url, token=token) as bus, bus.subscribe(OrderStatusChange) as events:
        assert (await bus.publish(SHIPPED)).type == "order-status"
        await take(events, 1)
        revoke(authority, sub)
        given.append(second)
        # The daemon ends the stream, and the client comes back with the new token.
        async with connect(authority.daemon.url, token=second) as other:
            await other.publish(SHIPPED)
        [event] = await take(events, 1)
        assert event.source == "second"
        await bus.publish(SHIPPED)
        assert (await take(events, 1))[0].source == "second"


@pytest.mark.parametrize("is_function", [False, True])
async def test_a_revoked_token_without_another_ends_the_subscription(
    authority: Authority, connect: Connect, is_function: bool
) -> None:
    sub = str(uuid4())
    token = authority.all(sub=sub)
    source: Any = (lambda: token) if is_function else token
    async with connect(authority.daemon.url, token=source) as bus, bus.subscribe(OrderStatusChange) as events:
        await bus.publish(SHIPPED)
        await take(events, 1)
        waiting = asyncio.ensure_future(take(events, 1))
        revoke(authority, sub)
        with pytest.raises(AuthenticationError):
            await waiting
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_a_function_that_fails(authority: Authority, connect: Connect) -> None:
    def failing() -> str:
        raise LookupError("no answer of the identity provider")

    async with connect(authority.daemon.url, token=failing) as bus:
        with pytest.raises(TokenError, match="no answer of the identity provider") as caught:
            await bus.publish(SHIPPED)
        assert isinstance(caught.value.__cause__, LookupError)
        assert caught.value.code == "no-token"
    async with connect(authority.daemon.url, token=lambda: None) as bus:
        with pytest.raises(AuthenticationError, match="returned no token"):
            await bus.publish(SHIPPED)


def test_wrong_tokens_are_named_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="empty"):
        Tidings(token="  ")
    with pytest.raises(ValueError, match="characters that no token has") as caught:
        Tidings(token="Bearer abc")
    assert "abc" not in str(caught.value)
    with pytest.raises(TypeError, match="a str or a function"):
        Tidings(token=b"abc")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def revoke(authority: Authority, sub: str) -> None:
    """Revokes the tokens of a subject."""
    response = httpx.post(
        f"{authority.daemon.url}/v1/revocations",
        json={"sub": sub},
        headers={"authorization": f"Bearer {authority.all(sub='admin')}"},
    )
    assert response.status_code == 204, response.text
