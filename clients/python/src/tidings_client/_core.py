"""What both clients and all flows share: the nodes, the requests and their credentials."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, TypeAlias, cast

import httpx

from ._errors import (
    TEMPORARY_STATUSES,
    ConnectionFailedError,
    TidingsError,
    UnexpectedResponseError,
    connection_error,
    response_error,
)
from ._flow import Close, Flow, GetToken, Send, Sleep
from ._json import dumps, loads
from ._model import EventData, channel_of
from ._retry import backoff
from ._token import Credential, Held

Scalar: TypeAlias = "str | int | float | Decimal | bool"
#: A filter: a condition for each field of the data, nested ones with dots. All must hold. A condition is a value, a
#: sequence of values (any of them), or `{"prefix": "…"}`.
Where: TypeAlias = "Mapping[str, Scalar | Sequence[Scalar] | Mapping[str, str]]"
#: Where to begin: a cursor, a position, `"start"`, `"now"`, an age (`"10m"` or a `timedelta`) or a time (a `datetime`).
Since: TypeAlias = "str | datetime | timedelta"

#: How long the daemon may take to answer a request, in seconds.
ANSWER_TIMEOUT = 15.0
#: How long a call is tried by default after an attempt that reached a node, in seconds.
REACHED_RETRY = 15.0


class Core:
    """The nodes of a bus, and how to ask them."""

    def __init__(self, urls: str | Sequence[str], credential: Credential | None, retry_timeout: float | None) -> None:
        self.urls = [_base(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if not self.urls:
            raise ValueError("urls is empty: name at least one node")
        self.credential = credential
        self.retry_timeout = check_timeout(retry_timeout)
        self._node = 0

    @property
    def base(self) -> str:
        """The URL of the current node."""
        return self.urls[self._node]

    def leave(self, base: str) -> None:
        """Goes on to the next node, unless a call at the same time has done so."""
        if base == self.base:
            self._node = (self._node + 1) % len(self.urls)

    def request(self, send: Send) -> Flow[httpx.Response]:
        """Sends a request to the node of its URL, with the token that is held.

        If the daemon refuses that one, a new one is tried once: the daemon has done nothing. Raises `TidingsError`, but
        for an answer with an error status, which the caller judges.
        """
        held: Held | None = (yield GetToken()) if self.credential is not None else None
        response = yield from self._send(send, held)
        credential = self.credential
        if response.status_code != 401 or held is None or credential is None or not credential.is_renewable:
            return response
        credential.refuse(held.text)
        if held.is_new:
            return response
        renewed: Held = yield GetToken()
        if renewed.text == held.text:
            return response
        return (yield from self._send(send, renewed))

    def _send(self, send: Send, held: Held | None) -> Flow[httpx.Response]:
        if held is not None:
            send = replace(send, headers={**send.headers, "authorization": f"Bearer {held.text}"})
        try:
            response: httpx.Response = yield send
        except (httpx.HTTPError, OSError) as cause:
            yield Close()
            raise connection_error(cause, self.base) from cause
        return response

    def call(self, send: Send, retry_timeout: float | None, ok: int = 200) -> Flow[httpx.Response]:
        """Sends a request, whose URL is a path, to one node after another until one answers with the status `ok`.

        Raises `TidingsError` if a node refuses the request for good, or the attempts are used up.
        """
        attempts = Attempts(self, retry_timeout)
        may_be_published = False
        while True:
            base = self.base
            try:
                response = yield from self.request(replace(send, url=f"{base}{send.url}"))
            except ConnectionFailedError as failure:
                error: TidingsError = failure
                is_final = False
            else:
                if response.status_code == ok:
                    return response
                error = response_error(response, base)
                is_final = response.status_code not in TEMPORARY_STATUSES
            error.may_be_published = may_be_published = may_be_published or error.may_be_published
            self.leave(base)
            delay = None if is_final else attempts.delay(error)
            if delay is None:
                raise error
            yield Sleep(delay)

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, wait: float = 0) -> Flow[dict[str, Any]]:
        """Gets a JSON object. `wait` is how long the daemon is asked to wait, in seconds."""
        send = Send("GET", path, {"accept": "application/json"}, ANSWER_TIMEOUT + wait, tuple(params))
        return document((yield from self.call(send, None)), self.base)


class Attempts:
    """Whether a call is tried again, and when.

    By default, a call fails at once if it can connect to no node: the daemon is most likely down, and the caller should
    learn that. If a node refused for the moment (429, 503) or did not answer, the daemon is there: the call is tried
    for 15 s.
    """

    def __init__(self, core: Core, retry_timeout: float | None) -> None:
        self._core = core
        given = check_timeout(retry_timeout)
        self._given = core.retry_timeout if given is None else given
        self._window = 0.0
        self.reset()

    def reset(self) -> None:
        """The last attempt has succeeded."""
        self._start = time.monotonic()
        self._failures = 0

    def persist(self) -> None:
        """From now on, the call is tried without end, unless the caller has given another time."""
        self._window = math.inf
        self.reset()

    def delay(self, error: TidingsError, at_least: float = 0) -> float | None:
        """How long to wait before the next attempt, in seconds. `None` if there is none. `at_least`: what the daemon
        asks for."""
        if not isinstance(error, ConnectionFailedError) or error.sent:
            self._window = max(self._window, REACHED_RETRY)
        # The next node has not answered yet, so the `Retry-After` of this one does not hold for it.
        has_untried = self._failures + 1 < len(self._core.urls)
        asked = 0.0 if has_untried else getattr(error, "retry_after", None) or 0.0
        delay = max(asked, at_least, backoff(self._failures))
        self._failures += 1
        window = self._window if self._given is None else self._given
        if time.monotonic() - self._start + delay <= window:
            return delay
        return 0.0 if has_untried else None


def document(response: httpx.Response, base: str) -> dict[str, Any]:
    """The JSON object of an answer."""
    try:
        value: object = loads(response.content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise no_daemon(base, response.status_code)
    return cast("dict[str, Any]", value)


def no_daemon(base: str, status: int) -> UnexpectedResponseError:
    """The error for an answer that looks like success, but is not that of a daemon."""
    error = UnexpectedResponseError(
        f"{base} answered with what no tidings daemon answers: check the address and the path in the URL"
    )
    error.status = status
    # Only a daemon answers an event with 202.
    error.may_be_published = status == 202
    return error


def channel_names(channels: Iterable[type[EventData] | str]) -> tuple[tuple[str, ...], dict[str, type[EventData]]]:
    """The names of channels, and the classes of their data as far as they are given."""
    names: list[str] = []
    models: dict[str, type[EventData]] = {}
    for channel in channels:
        if isinstance(channel, str):
            name = channel
        else:
            name = channel_of(channel)
            models[name] = channel
        if name in names:
            raise ValueError(f"the channel {name} is named twice")
        names.append(name)
    return tuple(names), models


def query(channels: Iterable[str], where: Where | None, since: Since | None) -> list[tuple[str, str]]:
    """The parameters of a request for events."""
    params = [("channel", channel) for channel in channels]
    if where is not None:
        params.append(("where", dumps(where)))
    if since is not None:
        params.append(("since", _since(since)))
    return params


def _since(since: Since) -> str:
    if isinstance(since, str):
        if not since:
            raise ValueError(
                "since is empty: leave it out to begin now (an event of a page has no cursor: use page.cursor)"
            )
        return since
    if isinstance(since, timedelta):
        return f"{max(0, since // timedelta(milliseconds=1))}ms"
    return write_time(since)


def write_time(time: object) -> str:
    """Writes an RFC 3339 time."""
    if not isinstance(time, datetime):
        raise TypeError(f"a time is a str or a datetime, not {time!r}")
    if time.tzinfo is None:
        raise ValueError(f"the time {time} has no time zone: use datetime.now(timezone.utc), or astimezone()")
    return time.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def check_timeout(seconds: float | None) -> float | None:
    """Checks an option in seconds."""
    if seconds is not None and not seconds >= 0:
        raise ValueError(f"a time in seconds is 0 or more, not {seconds}")
    return seconds


def _base(url: str) -> str:
    """Checks the URL of a node. Without a slash at its end."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as cause:
        raise ValueError(f"{url!r} is no URL: {cause}") from cause
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(
            f"{url!r} is not the URL of a daemon: it begins with http:// or https://, such as http://127.0.0.1:7400"
        )
    if parsed.query or parsed.fragment:
        raise ValueError(f"the URL of a daemon has no query and no fragment: {url!r}")
    return str(parsed).rstrip("/")
