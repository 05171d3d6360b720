"""Refusals for the moment, lost answers, and answers of other servers. Some need a server that lies, so it is a fake
one."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

import httpx
import pytest
from both import take
from conftest import Connect
from daemon import Daemon, Proxy, wait_for

from tidings_client import (
    ConnectionFailedError,
    InvalidError,
    InventoryChange,
    OrderStatusChange,
    RateLimitedError,
    Tidings,
    UnavailableError,
    UnexpectedResponseError,
)

pytestmark = pytest.mark.anyio

SHIPPED = OrderStatusChange(orderId="o-1", newStatus="shipped")


#: A status, headers and a body. Status 0 is an end without an answer.
Answer: TypeAlias = "tuple[int, dict[str, str], bytes]"


class Fake:
    """A server that answers as it is told, and notes what it was asked."""

    def __init__(self) -> None:
        #: What answers each of the next requests: a status, headers and a body. The last one answers all others.
        self.answers: list[Answer] = []
        self.bodies: list[Any] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                fake.bodies.append(json.loads(self.rfile.read(length)) if length else None)
                fake.times.append(time.monotonic())
                fake.headers.append({name.lower(): value for name, value in self.headers.items()})
                status, headers, body = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    yield server
    server.close()


def problem(status: int, code: str, retry_after: str | None = None) -> Answer:
    headers = {"content-type": "application/problem+json"}
    if retry_after is not None:
        headers["retry-after"] = retry_after
    return status, headers, json.dumps({"status": status, "code": code, "detail": "not now"}).encode()


TAKEN = {"accepted": [{"id": "1", "type": "order-status", "position": "e:1", "duplicate": False}], "cascaded": []}
ACCEPTED: Answer = (202, {"content-type": "application/json"}, json.dumps(TAKEN).encode())
LOST: Answer = (0, {}, b"")


#: What is answered, the error, and whether the events may be published.
OUTCOMES: list[tuple[list[Answer], type[Exception], bool]] = [
    ([problem(503, "broker-unavailable")], UnavailableError, True),
    ([problem(503, "draining")], UnavailableError, False),
    ([problem(503, "broker-unavailable"), problem(503, "draining")], UnavailableError, True),
    ([LOST], ConnectionFailedError, True),
    ([LOST, problem(422, "invalid-event")], InvalidError, True),
    ([(404, {}, b"<html>")], UnexpectedResponseError, False),
    ([(200, {}, b"<html>")], UnexpectedResponseError, False),
    ([(202, {}, b"<html>")], UnexpectedResponseError, True),
    ([(202, {}, b"{}")], UnexpectedResponseError, True),
]
TEMPORARY: list[Answer] = [problem(503, "broker-unavailable"), problem(429, "rate-limited"), LOST, (502, {}, b"")]


@pytest.mark.parametrize("first", TEMPORARY)
async def test_a_retry_sends_the_same_ids(fake: Fake, connect: Connect, first: Answer) -> None:
    fake.answers = [first, ACCEPTED]
    async with connect(fake.url) as bus:
        accepted = await bus.publish_all([SHIPPED, SHIPPED])
    assert accepted[0].position == "e:1"
    assert len(fake.bodies) == 2
    assert fake.bodies[0] == fake.bodies[1]
    assert len({event["id"] for event in fake.bodies[0]}) == 2


async def test_retry_after_is_heeded(fake: Fake, connect: Connect) -> None:
    fake.answers = [problem(429, "rate-limited", "1"), ACCEPTED]
    async with connect(fake.url) as bus:
        await bus.publish(SHIPPED)
    assert fake.times[1] - fake.times[0] >= 1


async def test_a_retry_after_beyond_the_time_is_raised(fake: Fake, connect: Connect) -> None:
    fake.answers = [problem(429, "rate-limited", "60")]
    async with connect(fake.url) as bus:
        with pytest.raises(RateLimitedError) as caught:
            await bus.publish(SHIPPED, id="mine")
    assert (caught.value.retry_after, caught.value.ids, caught.value.may_be_published) == (60, ("mine",), False)
    assert len(fake.bodies) == 1


@pytest.mark.parametrize(("answers", "error", "may_be_published"), OUTCOMES)
async def test_the_error_says_whether_the_events_may_be_published(
    fake: Fake, connect: Connect, answers: Any, error: type[Exception], may_be_published: bool
) -> None:
    fake.answers = list(answers)
    async with connect(fake.url, retry_timeout=0.6) as bus:
        with pytest.raises(error) as caught:
            await bus.publish(SHIPPED, id="mine")
    assert getattr(caught.value, "may_be_published", None) is may_be_published
    assert getattr(caught.value, "ids", None) == ("mine",)


async def test_with_no_time_each_node_is_tried_once(fake: Fake, connect: Connect) -> None:
    fake.answers = [problem(503, "draining")]
    async with connect([fake.url, f"{fake.url}/second"], retry_timeout=0) as bus:
        with pytest.raises(UnavailableError):
            await bus.publish(SHIPPED)
    assert len(fake.bodies) == 2


async def test_a_redirect_is_not_followed(fake: Fake, connect: Connect) -> None:
    fake.answers = [(302, {"location": "https://evil.example/"}, b"")]
    async with connect(fake.url, token="secret") as bus:
        with pytest.raises(UnexpectedResponseError, match="answered with status 302"):
            await bus.publish(SHIPPED)


async def test_something_else_than_an_event_stream(fake: Fake, connect: Connect) -> None:
    async with connect(fake.url) as bus:
        answers: list[Answer] = [(200, {"content-type": "text/html"}, b"<html>"), (404, {}, b"")]
        for answer in answers:
            fake.answers = [answer]
            with pytest.raises(UnexpectedResponseError):
                async with bus.subscribe(OrderStatusChange):
                    raise AssertionError("it stands")


async def test_a_node_that_refuses_for_the_moment_is_passed_over(shared: Daemon, fake: Fake, connect: Connect) -> None:
    fake.answers = [problem(503, "draining", "60")]
    async with connect([fake.url, shared.url]) as bus, bus.subscribe(OrderStatusChange) as events:
        await bus.publish(SHIPPED)
        assert (await take(events, 1))[0].data == SHIPPED
    fake.answers = [problem(429, "rate-limited", "1"), problem(503, "overloaded")]
    async with connect(fake.url, retry_timeout=1.5) as bus:
        with pytest.raises(UnavailableError) as caught:
            async with bus.subscribe(OrderStatusChange):
                raise AssertionError("it stands")
    assert caught.value.code == "overloaded"
    assert fake.times[2] - fake.times[1] >= 1


async def test_a_stream_is_opened_again_while_a_proxy_answers(shared: Daemon, fake: Fake, connect: Connect) -> None:
    """The second node stands for a proxy whose daemon starts again."""
    fake.answers = [(502, {}, b"<html>"), (404, {}, b"<html>"), problem(503, "overloaded", "1"), (500, {}, b"")]
    with Proxy(shared.port) as proxy:
        async with connect([proxy.url, fake.url]) as bus, bus.subscribe(OrderStatusChange) as events:
            for _ in range(4):
                proxy.cut()
                with Tidings(shared.url) as other:
                    await asyncio.to_thread(other.publish, SHIPPED)
                assert (await take(events, 1))[0].data == SHIPPED
    assert all(headers["last-event-id"].startswith("order-status=") for headers in fake.headers)


async def test_the_limits_of_the_daemon(connect: Connect) -> None:
    with Daemon("--publish-rate", "2", "--publish-burst", "2") as daemon:
        async with connect(daemon.url, retry_timeout=0) as bus:
            await bus.publish_all([SHIPPED, SHIPPED])
            with pytest.raises(RateLimitedError) as caught:
                await bus.publish_all([SHIPPED, SHIPPED])
            assert caught.value.retry_after is not None
            accepted = await bus.publish_all([SHIPPED, SHIPPED], retry_timeout=10)
            assert not accepted[0].duplicate
            with pytest.raises(InvalidError, match="burst"):
                await bus.publish_all([SHIPPED] * 3)


async def test_a_lost_answer_of_the_daemon_makes_no_second_event(shared: Daemon, connect: Connect) -> None:
    with Proxy(shared.port) as proxy:
        proxy.cuts = [10]
        async with connect(proxy.url) as bus:
            before = (await bus.history(InventoryChange, since="now", limit=1)).cursor
            await bus.publish(InventoryChange(productId="1", oldQuantity=1, newQuantity=2, reason="first"))
            proxy.cut()
            proxy.cuts = [10]
            accepted = await bus.publish(InventoryChange(productId="1", oldQuantity=1, newQuantity=2, reason="second"))
            after = await bus.history(InventoryChange, since=before)
    assert [event.data.reason for event in after.events] == ["first", "second"]
    assert accepted.duplicate


async def test_a_daemon_that_hangs_is_left(shared: Daemon, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings_client._publish.ANSWER_TIMEOUT", 0.5)
    with Daemon() as hanging:
        hanging.pause()
        async with connect([hanging.url, shared.url]) as bus:
            assert (await bus.publish(SHIPPED)).type == "order-status"
        async with connect(hanging.url, retry_timeout=0) as bus:
            with pytest.raises(ConnectionFailedError, match="did not answer in time") as caught:
                await bus.publish(SHIPPED)
            assert caught.value.code == "timeout"


async def test_a_client_of_ones_own_is_used_and_left_open(fake: Fake, connect: Connect, request: Any) -> None:
    fake.answers = [ACCEPTED]
    is_async = request.node.callspec.params["connect"] == "asyncio"
    http: Any = (httpx.AsyncClient if is_async else httpx.Client)(headers={"x-tenant": "a"})
    async with connect(fake.url, http=http) as bus:
        await bus.publish(SHIPPED)
    assert fake.headers[0]["x-tenant"] == "a"
    assert not http.is_closed
    await http.aclose() if is_async else http.close()


def test_a_huge_retry_after_does_not_end_a_subscription(fake: Fake, caplog: Any) -> None:
    stream = b"event: cursor\ndata: {}\nid: order-status=e:0\n\n"
    fake.answers = [
        (200, {"content-type": "text/event-stream"}, stream),
        problem(429, "rate-limited", "18446744073709551615"),
    ]
    with Tidings(fake.url) as bus, bus.subscribe(OrderStatusChange) as events, ThreadPoolExecutor(1) as pool:
        ended = pool.submit(lambda: list(events))
        wait_for(lambda: "not now" in caplog.text, "the refusal")
        events.close()
        assert ended.result(20) == []
    assert "resuming in 86400.0 s" in caplog.text
