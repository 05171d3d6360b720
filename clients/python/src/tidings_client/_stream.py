"""Following an event stream: it is opened again after every kind of cut, from the cursor of the last complete block."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
from pydantic import ValidationError

from ._core import Attempts, Core, Since, Where, check_timeout, query
from ._errors import (
    TEMPORARY_STATUSES,
    ConnectionFailedError,
    DataError,
    ProblemError,
    TidingsError,
    TokenError,
    UnexpectedResponseError,
    connection_error,
    response_error,
)
from ._event import Event, Gap
from ._flow import Close, Emit, Fail, Flow, GetToken, Read, Ready, Send, Sleep
from ._json import loads
from ._model import EventData
from ._sse import Block, Parser
from ._token import Held

logger = logging.getLogger("tidings_client")

#: A stream that lasted so long, in seconds, was not refused by anything in between: the next failure counts as the
#: first.
LASTED = 5.0
#: The seconds without a byte after which a connection is dead. The daemon sends a heartbeat each 25 s (`heartbeat`).
HEARTBEAT_TIMEOUT = 55.0


class Following:
    """One subscription, and where it stands."""

    def __init__(
        self,
        core: Core,
        channels: tuple[str, ...],
        models: Mapping[str, type[EventData]],
        where: Where | None,
        since: Since | None,
        heartbeat_timeout: float,
        retry_timeout: float | None,
    ) -> None:
        self._core = core
        self._models = models
        self._params_to_begin = tuple(query(channels, where, since))
        self._params_to_resume = tuple(query(channels, where, None))
        if not heartbeat_timeout > 0:
            raise ValueError(f"heartbeat_timeout is a time in seconds, not {heartbeat_timeout}")
        self._heartbeat_timeout = heartbeat_timeout
        self._retry_timeout = check_timeout(retry_timeout)
        #: Where to resume. `None` until the subscription stands.
        self.cursor: str | None = None
        #: Whether the caller was told that the subscription stands. From then on nothing may be missed.
        self.is_ready = False

    def flow(self) -> Flow[None]:
        """Follows the stream without end. Raises `TidingsError` if the daemon refuses it for good."""
        core = self._core
        self._attempts = Attempts(core, self._retry_timeout)
        while True:
            base = core.base
            opened_at = math.inf
            retry = 0.0
            try:
                token = yield from self._open(base)
                opened_at = time.monotonic()
                end = yield from self._read(base, token)
                if end is None:
                    logger.info("opening the event stream of %s again, with a new token", base)
                    yield Close()
                    continue
                ended = ConnectionFailedError(f"the event stream of the daemon at {base} ended{end[0]}")
                ended.sent, retry = True, end[1]
                error: TidingsError = ended
            except (ConnectionFailedError, ProblemError, UnexpectedResponseError, TokenError) as failure:
                error = failure
            yield Close()
            if time.monotonic() - opened_at >= LASTED:
                self._attempts.reset()
            core.leave(base)
            delay = self._attempts.delay(error, retry) if self._may_pass(error) else None
            if delay is None:
                raise error
            logger.warning("%s; %s in %.1f s", error, "resuming" if self.is_ready else "trying again", delay)
            yield Sleep(delay)

    def _may_pass(self, error: TidingsError) -> bool:
        if isinstance(error, ProblemError):
            return error.status in TEMPORARY_STATUSES or (self.is_ready and error.status >= 500)
        if isinstance(error, UnexpectedResponseError):
            # Proxies answer with all kinds of statuses while a daemon behind them starts again.
            return self.is_ready or error.status in TEMPORARY_STATUSES
        return self.is_ready or not isinstance(error, TokenError)

    def _open(self, base: str) -> Flow[str]:
        """Opens the stream. Returns the token that it was opened with, or an empty text."""
        headers = {"accept": "text/event-stream", "accept-encoding": "identity", "cache-control": "no-store"}
        params = self._params_to_begin
        if self.cursor is not None:
            headers["last-event-id"] = self.cursor
            params = self._params_to_resume
        send = Send("GET", f"{base}/v1/stream", headers, self._heartbeat_timeout, params, stream=True)
        response: httpx.Response = yield from self._core.request(send)
        if response.status_code != 200:
            raise response_error(response, base)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            error = UnexpectedResponseError(
                f"{base} answered with no event stream: check the address and the path in the URL"
            )
            error.status = 200
            raise error
        authorization: str = response.request.headers.get("authorization", "")
        return authorization.removeprefix("Bearer ")

    def _read(self, base: str, token: str) -> Flow[tuple[str, float] | None]:
        """Reads the stream to its end. Returns why it ended, as the end of a sentence, and when the daemon wants the
        client back.

        Returns `None` if there is a new token.
        """
        parser = Parser()
        reason = ""
        while True:
            try:
                chunk: bytes | None = yield Read()
                blocks = [] if chunk is None else list(parser.feed(chunk))
            except (httpx.HTTPError, OSError) as cause:
                raise self._cut(cause, base) from cause
            except ValueError as cause:
                raise UnexpectedResponseError(f"{base} sent no event stream: {cause}") from cause
            for block in blocks:
                if block.event == "error":
                    reason = self._error(block, token)
                else:
                    yield from self._block(block)
            if chunk is None:
                break
            if (yield from self._has_new_token(token)):
                return None
        end = parser.end()
        if end.event != "closed":
            return reason, 0.0
        return reason or f": {loads(end.data).get('reason', '')}", parser.retry or 0.0

    def _cut(self, cause: Exception, base: str) -> ConnectionFailedError:
        error = connection_error(cause, base)
        if not isinstance(cause, httpx.ReadTimeout):
            return error
        why = "" if self.is_ready else ": something between here and the daemon may hold the event stream back"
        late = ConnectionFailedError(
            f"nothing has come from the daemon at {base} for {self._heartbeat_timeout:g} s{why}"
        )
        late.code, late.sent = "timeout", True
        return late

    def _error(self, block: Block, token: str) -> str:
        """The daemon says why it is about to end the stream."""
        frame = loads(block.data)
        if frame.get("code") == "unauthenticated" and self._core.credential is not None:
            self._core.credential.refuse(token)
        return f": {frame.get('message', '')}"

    def _has_new_token(self, token: str) -> Flow[bool]:
        """Whether the stream has to be opened again because its token is about to end, and there is a new one."""
        credential = self._core.credential
        if credential is None or not credential.is_outdated(token):
            return False
        try:
            held: Held = yield GetToken()
        except TokenError as error:
            # The daemon will end the stream, and then the function is called again.
            logger.warning("%s", error)
            return False
        return held.text != token

    def _block(self, block: Block) -> Flow[None]:
        if block.event == "cursor":
            self.cursor = block.id
            yield from self._ready()
            return
        yield from self._ready()
        self.cursor = block.id
        # Something has arrived, so the next failure counts as the first.
        self._attempts.reset()
        if block.event == "gap":
            gap = loads(block.data)
            yield Emit(Gap(gap["channel"], gap["from"], gap["position"], block.id))
            return
        event = event_of(loads(block.data), _position(block.id, block.event), block.id)
        try:
            typed = with_model(event, self._models)
        except DataError as error:
            yield Fail(error)
        else:
            yield Emit(typed)

    def _ready(self) -> Flow[None]:
        if not self.is_ready:
            self.is_ready = True
            self._attempts.persist()
            yield Ready()


def event_of(attributes: dict[str, Any], position: str | None, cursor: str) -> Event[dict[str, Any]]:
    """An event of a CloudEvent in JSON."""
    data = attributes.pop("data", None)
    return Event(
        type=attributes["type"],
        data=data,
        id=attributes["id"],
        source=attributes["source"],
        subject=attributes.get("subject"),
        time=attributes["time"],
        attributes=attributes,
        position=position,
        cursor=cursor,
    )


def with_model(event: Event[dict[str, Any]], models: Mapping[str, type[EventData]]) -> Event[Any]:
    """The event with its data as an object of the class of its channel, if there is one. Raises `DataError`."""
    model = models.get(event.type)
    if model is None:
        return event
    try:
        # A field that a later version of the type has is no mistake of this program. It is in `model_extra`.
        data = model.model_validate(event.data, extra="allow", by_alias=True)
    except ValidationError as cause:
        error = DataError(f"the data of the event {event.id} does not fit {model.__name__}: {cause}")
        error.event = event
        raise error from cause
    typed: Event[Any] = event
    return replace(typed, data=data)


def _position(cursor: str, channel: str) -> str | None:
    """The position of a channel in a cursor. A packed cursor tells none."""
    prefix = f"{channel}="
    for part in cursor.split(","):
        if part.startswith(prefix):
            return part[len(prefix) :]
    return None
