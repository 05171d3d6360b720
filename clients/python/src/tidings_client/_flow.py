"""Flows: what the client does, without the I/O.

A flow is a generator that yields steps, such as "send this request" or "wait for two seconds". It gets the result of
each step back, or its exception. `Tidings` performs the steps with blocking calls and `AsyncTidings` with `await`, so
that each decision (when to try again, where to resume) is written once. httpx's own `auth_flow` is built in the same
way.

A flow never yields in a `finally`: it may be dropped at any step.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from ._event import Event, Gap

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GetToken:
    """Gets the token to send: a `Held`, or `None` for a client without one."""


@dataclass(frozen=True, slots=True)
class Send:
    """Sends a request. The result is an `httpx.Response`.

    Its body is read, except for a stream that was answered with 200.
    """

    method: str
    url: str
    #: Not in a text for people, since it has the token.
    headers: Mapping[str, str] = field(repr=False)
    #: The most seconds between two reads of bytes.
    read_timeout: float
    params: tuple[tuple[str, str], ...] = ()
    content: bytes | None = field(default=None, repr=False)
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """Reads the next bytes of the stream that was opened last. The result is `None` at its end."""


@dataclass(frozen=True, slots=True)
class Close:
    """Closes the stream that was opened last."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Waits."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The subscription stands."""


@dataclass(frozen=True, slots=True)
class Emit:
    """Hands an item of the subscription to the caller."""

    item: Event[Any] | Gap


@dataclass(frozen=True, slots=True)
class Fail:
    """Raises an error in the caller. The subscription goes on after it."""

    error: Exception


Step: TypeAlias = "GetToken | Send | Read | Close | Sleep | Ready | Emit | Fail"
Flow: TypeAlias = Generator[Step, Any, T]
