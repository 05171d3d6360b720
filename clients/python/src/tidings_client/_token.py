"""The credential of a client: a fixed token, or a function of the application that gets one.

A token is held until it is about to end or the daemon refuses it, so that not each request calls the function. A client
with a token never goes on without one.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import logging
import random
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from ._errors import AuthenticationError, TokenError

#: The option `token` of the synchronous client.
Token: TypeAlias = "str | Callable[[], str | None]"
#: The option `token` of the asynchronous client.
AsyncToken: TypeAlias = "str | Callable[[], str | Awaitable[str | None] | None]"

#: A token is renewed at a random point between these parts of its time, so that clients do not renew together.
EARLIEST, LATEST = 0.8, 0.9
#: The shortest time between two calls of the function for a token that is about to end, in seconds.
MIN_RENEWAL = 1.0

#: What a header takes. The tokens that the daemon knows have fewer characters still.
_SENDABLE = re.compile(r"[\x21-\x7e]+")
_NOT_SENDABLE = "the token has characters that no token has, such as a space or a line break: pass the token alone"

logger = logging.getLogger("tidings_client")


@dataclass(frozen=True, slots=True)
class Held:
    """A token to send."""

    text: str = field(repr=False)
    #: Whether the function was called for it just now. The refusal of such a token is final.
    is_new: bool


class Credential:
    """What both kinds of credentials have in common."""

    def __init__(self, source: object) -> None:
        if not callable(source):
            if not isinstance(source, str):
                raise TypeError(f"token is a str or a function, not {type(source).__name__}")
            if not source.strip():
                raise ValueError("token is empty: leave it out to connect without a token")
        self._held: str | None = None
        #: When the function is called for the next one, by the monotonic clock.
        self._renew_at = float("inf")
        self.is_renewable = callable(source)
        if isinstance(source, str):
            if not _SENDABLE.fullmatch(source.strip()):
                # The message does not repeat the token.
                raise ValueError(_NOT_SENDABLE)
            self._held = source.strip()

    def is_due(self) -> bool:
        """Whether the token is about to end, and there may be a new one."""
        return self.is_renewable and time.monotonic() >= self._renew_at

    def is_outdated(self, token: str) -> bool:
        """Whether there is, or may be, another token than this one."""
        return self.is_renewable and (self.is_due() or self._held != token)

    def refuse(self, token: str) -> None:
        """The daemon has refused this token: the next one comes from the function. A fixed one stays, there is no
        other."""
        if self.is_renewable and token == self._held:
            self._held = None

    def _current(self) -> Held | None:
        if self._held is None or self.is_due():
            return None
        return Held(self._held, is_new=False)

    def _take(self, value: object) -> Held:
        """Takes what the function returned."""
        text = value.strip() if isinstance(value, str) else ""
        if not text:
            what = "no token" if value is None or value == "" else f"{type(value).__name__} instead of a token"
            raise AuthenticationError(f"the function `token` returned {what}")
        if not _SENDABLE.fullmatch(text):
            raise AuthenticationError(_NOT_SENDABLE)
        is_new = text != self._held
        self._held = text
        left = _seconds_left(text)
        part = random.uniform(EARLIEST, LATEST)
        self._renew_at = float("inf") if left is None else time.monotonic() + max(MIN_RENEWAL, part * left)
        return Held(text, is_new)

    def _failed(self, cause: Exception) -> Held:
        """The function failed. The token that is held goes on for as long as the daemon takes it."""
        if self._held is None:
            raise TokenError(f"the function `token` failed: {cause or type(cause).__name__}") from cause
        logger.warning("the function `token` failed, and is called again: %s", cause or type(cause).__name__)
        self._renew_at = time.monotonic() + 10 * MIN_RENEWAL
        return Held(self._held, is_new=False)


class SyncCredential(Credential):
    """A credential for threads. Calls at the same moment share one call of the function."""

    def __init__(self, source: Token) -> None:
        super().__init__(source)
        self._source = source
        self._lock = threading.Lock()

    def get(self) -> Held:
        """The token to send. Raises `TokenError` if the function fails, `AuthenticationError` if it returns none."""
        source = self._source
        with self._lock:
            if (held := self._current()) is not None:
                return held
            assert callable(source)
            try:
                value: object = source()
            except Exception as cause:
                return self._failed(cause)
            if inspect.isawaitable(value):
                if inspect.iscoroutine(value):
                    value.close()
                raise TypeError("the function `token` is asynchronous: use AsyncTidings, or a synchronous function")
            return self._take(value)


class AsyncCredential(Credential):
    """A credential for asyncio. Calls at the same moment share one call of the function."""

    def __init__(self, source: AsyncToken) -> None:
        super().__init__(source)
        self._source = source
        self._lock = asyncio.Lock()

    async def get(self) -> Held:
        """As `SyncCredential.get`."""
        source = self._source
        async with self._lock:
            if (held := self._current()) is not None:
                return held
            assert callable(source)
            try:
                value = source()
                if inspect.isawaitable(value):
                    value = await value
            except Exception as cause:
                return self._failed(cause)
            return self._take(value)


def _seconds_left(token: str) -> float | None:
    """How long a JSON Web Token (RFC 7519) is valid. `None` if that is not known, as of an API key.

    The client does not check the token: the daemon does. With a clock that is wrong, the daemon ends the stream, and
    the client gets a new token.
    """
    try:
        part = token.split(".")[1]
        decoded: object = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return None
    if not isinstance(decoded, dict):
        return None
    claims = cast("dict[str, Any]", decoded)
    ends, issued = claims.get("exp"), claims.get("iat")
    if not isinstance(ends, int | float):
        return None
    left = ends - time.time()
    if isinstance(issued, int | float):
        left = min(left, ends - issued)
    return left if left > 0 else None
