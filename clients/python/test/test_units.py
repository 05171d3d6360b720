"""Parts of the client without a daemon."""

from __future__ import annotations

import base64
import json
import pickle
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import httpx
import pytest

from tidings_client import InvalidError, InventoryChange, Model
from tidings_client._errors import response_error
from tidings_client._event import read_time
from tidings_client._flow import Send
from tidings_client._json import dumps, loads
from tidings_client._retry import backoff, retry_after
from tidings_client._sse import Block, Parser
from tidings_client._token import SyncCredential

STREAM = (
    "retry: 1329\n: heartbeat\nevent: cursor\ndata: {}\nid: a=e:0\n\n"
    "event: a\r\ndata: 1\r\ndata: ü\r\nid: a=e:1\r\n\r\n"
    'data: no event\n\nevent: closed\ndata: {"code":1012}\n'
).encode()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_an_event_stream_in_pieces_of_any_size(size: int) -> None:
    parser = Parser()
    blocks = [block for at in range(0, len(STREAM), size) for block in parser.feed(STREAM[at : at + size])]
    assert blocks == [Block("cursor", "{}", "a=e:0"), Block("a", "1\nü", "a=e:1")]
    assert parser.end() == Block("closed", '{"code":1012}', "a=e:1")
    assert parser.retry == 1.329


def test_a_line_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings_client._sse.MAX_LINE_BYTES", 10)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        list(Parser().feed(b"x" * 11))
    with pytest.raises(ValueError, match="utf-8"):
        list(Parser().feed(b"\xff\n"))


class Colour(Enum):
    RED = "red"


class Inner(Model):
    n: Decimal | None = None
    needed: str | None


def test_json_is_exact() -> None:
    value: Any = {
        "a": [Decimal("1.10"), 2**70, 0.1, -0.0, True, None, "ü\u2028"],
        "b": (Colour.RED, UUID(int=1), datetime(2026, 1, 1, tzinfo=timezone.utc)),
        "c": {},
        "d": Inner(needed=None),
    }
    text = dumps(value)
    assert json.loads(text, parse_float=str) == {
        "a": ["1.10", 2**70, "0.1", "-0.0", True, None, "ü\u2028"],
        "b": ["red", "00000000-0000-0000-0000-000000000001", "2026-01-01T00:00:00Z"],
        "c": {},
        "d": {"needed": None},
    }
    assert loads("[1.10, 1E400, 123456789012345678901234567890]") == [
        Decimal("1.10"),
        Decimal("1E400"),
        123456789012345678901234567890,
    ]
    for wrong in (float("inf"), Decimal("NaN"), {1: 2}):
        with pytest.raises(ValueError, match="is not"):
            dumps(wrong)
    with pytest.raises(ValueError, match="NaN is not JSON"):
        loads("NaN")
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(ValueError, match="contains itself"):
        dumps(itself)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21T10:00:00Z", datetime(2026, 11, 21, 10, tzinfo=timezone.utc)),
        ("2026-11-21t10:00:00.123456789z", datetime(2026, 11, 21, 10, 0, 0, 123456, timezone.utc)),
        (
            "2026-11-21T10:00:00.5+05:30",
            datetime(2026, 11, 21, 10, 0, 0, 500000, timezone(timedelta(hours=5, minutes=30))),
        ),
        ("2026-11-21T10:00:00-00:30", datetime(2026, 11, 21, 10, tzinfo=timezone(-timedelta(minutes=30)))),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, 999999, timezone.utc)),
    ],
)
def test_times_of_rfc_3339(text: str, time: datetime) -> None:
    assert read_time(text) == time
    assert read_time(text).utcoffset() == time.utcoffset()


def test_retry_after_has_seconds_or_a_date() -> None:
    assert retry_after("5") == 5
    assert retry_after(None) is None
    assert retry_after("soon") is None
    assert retry_after("Sat, 21 Nov 2020 10:00:00 GMT") == 0
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 90 < (retry_after(later) or 0) <= 100


@pytest.mark.parametrize("digits", ["18446744073709551615", "9" * 400, "9" * 5000])
def test_a_pause_is_at_most_a_day(digits: str) -> None:
    assert retry_after(digits) == 86400
    assert retry_after("Fri, 31 Dec 9999 23:59:59 GMT") == 86400
    parser = Parser()
    assert not list(parser.feed(f"retry: {digits}\n\n".encode()))
    assert parser.retry == 86400


def test_delays_are_spread_and_bounded() -> None:
    delays = [[backoff(failures) for _ in range(200)] for failures in (0, 3, 1000)]
    for taken, bound in zip(delays, (0.25, 2, 30), strict=True):
        assert bound * 0.8 < max(taken) <= bound
        assert min(taken) < bound * 0.2


def jwt(**claims: float) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{part}.c2ln"


def test_a_token_is_due_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    wall = time.time()
    credential = SyncCredential(lambda: jwt(exp=wall + 100 + now - 1_000_000))
    first = credential.get()
    assert first.is_new
    now += 79
    assert not credential.is_due()
    assert credential.get() == type(first)(first.text, is_new=False)
    now += 12
    assert credential.is_due()
    assert credential.get().text != first.text
    # An API key, and a token that this clock takes for ended, are held until the daemon refuses them.
    for text in ("tdg_key", jwt(exp=wall - 10), "a.b.c", "e30.bnVsbA.c2ln"):
        held = SyncCredential(lambda text=text: text)  # type: ignore[misc]
        held.get()
        now += 1e9
        assert not held.is_due()


def test_a_token_that_is_held_outlives_a_function_that_fails(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    answers: list[str] = [jwt(exp=time.time() + 100)]
    credential = SyncCredential(answers.pop)
    first = credential.get()
    now += 95
    assert credential.get() == type(first)(first.text, is_new=False)
    assert "is called again" in caplog.text


def test_the_token_is_in_no_text() -> None:
    held = SyncCredential("secret").get()
    send = Send("GET", "http://a", {"authorization": "Bearer secret"}, 1.0)
    assert "secret" not in repr((held, send))


def test_a_class_keeps_its_schema() -> None:
    """As FastAPI writes it into its OpenAPI document."""
    schema = InventoryChange.model_json_schema(mode="serialization")
    assert set(schema["properties"]) == {"productId", "variantId", "oldQuantity", "newQuantity", "reason"}


def test_data_is_compared_by_its_fields() -> None:
    sale = {"productId": "1", "oldQuantity": 1, "newQuantity": 0, "reason": "sale"}
    made, received = InventoryChange.model_validate(sale), InventoryChange.model_validate(sale, extra="allow")
    assert made == received
    assert made != InventoryChange.model_validate({**sale, "later": 1}, extra="allow")
    assert made != InventoryChange.model_validate({**sale, "oldQuantity": 2})
    assert made != sale


def test_errors_can_be_pickled() -> None:
    """As multiprocessing and task queues do."""
    body = {"code": "invalid-event", "detail": "no", "errors": [{"pointer": "/a", "message": "b"}]}
    error = response_error(httpx.Response(422, json=body), "http://a")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, InvalidError)
    assert (str(copy), copy.code, copy.errors[0].pointer) == ("no (invalid-event)", "invalid-event", "/a")
