"""The errors of the client: `TidingsError` and its subclasses. `code` says what went wrong, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import httpx

from ._retry import retry_after

if TYPE_CHECKING:
    from ._event import Event

#: The statuses after which the same request may succeed. With others it never does.
TEMPORARY_STATUSES = frozenset({408, 429, 502, 503, 504})

#: The codes of a 503 that say that nothing was done.
_NOT_TAKEN = frozenset({"draining", "overloaded"})


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a request that the daemon refused."""

    #: Where the mistake is: a JSON Pointer (RFC 6901) into the body, such as `/data/productId`. With several events it
    #: begins with the index of the event.
    pointer: str
    #: What is wrong there, for people.
    message: str


class TidingsError(Exception):
    """Every error that the client raises, but for wrong arguments (`TypeError`, `ValueError`)."""

    #: What went wrong, for programs. Stable: a code of the daemon, or one of the client's own, which the subclasses
    #: name.
    code: str = "error"
    #: The ids of the events of a `publish` that failed, in their order. To publish them again under these ids is safe:
    #: the daemon takes each id once.
    ids: tuple[str, ...] = ()
    #: Whether the events of a `publish` that failed may be published all the same.
    may_be_published: bool = False


class ProblemError(TidingsError):
    """The daemon answered with a problem document (RFC 9457)."""

    #: The HTTP status.
    status: int = 0
    #: The kind of the problem, for people.
    title: str = ""
    #: What went wrong here, for people. It has the first of `errors`.
    detail: str = ""
    #: Every mistake in an event or a filter, up to 100.
    errors: tuple[Mistake, ...] = ()
    #: The `x-request-id` of the answer, which the daemon's log also has.
    request_id: str | None = None
    #: The seconds after which to try again, if the daemon says so (`Retry-After`).
    retry_after: float | None = None


class AuthenticationError(ProblemError):
    """401: there is no token, or the daemon does not accept it. Also if the function `token` returned none."""

    code = "unauthenticated"
    status = 401


class ForbiddenError(ProblemError):
    """403: the token does not grant this. A channel that does not exist gets the same answer."""


class InvalidError(ProblemError):
    """422: an event, a filter, a channel or a position is wrong. `errors` has all mistakes in it."""


class RateLimitedError(ProblemError):
    """429: more than the daemon's limits allow. Nothing was done; `retry_after` says when there is room."""


class UnavailableError(ProblemError):
    """503: the node or its broker cannot do this at the moment."""


class ConnectionFailedError(TidingsError):
    """No answer came: the daemon could not be reached (`network`), or did not answer in time (`timeout`)."""

    code = "network"
    #: Whether a connection was made, so that the daemon may have got the request.
    sent: bool = False


class UnexpectedResponseError(TidingsError):
    """The answer is not that of a tidings daemon: `unexpected-response`. `status` is its HTTP status."""

    code = "unexpected-response"
    status: int = 0


class TokenError(TidingsError):
    """The function `token` failed, and no token is held: `no-token`. The cause is in `__cause__`."""

    code = "no-token"


class DataError(TidingsError):
    """The data of an event that arrived does not fit its class: `invalid-data`. The subscription goes on after it."""

    code = "invalid-data"
    #: The event, with its data as a `dict`.
    event: Event[dict[str, Any]]


_BY_STATUS: Mapping[int, type[ProblemError]] = {
    401: AuthenticationError,
    403: ForbiddenError,
    422: InvalidError,
    429: RateLimitedError,
    503: UnavailableError,
}


def response_error(response: httpx.Response, base: str) -> TidingsError:
    """The error for an answer that is no success. Its body has been read."""
    status = response.status_code
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    problem = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    code = problem.get("code")
    if not isinstance(code, str):
        return _unexpected(status, base)
    detail = str(problem.get("detail") or problem.get("title") or f"{base} answered with status {status}")
    error = _BY_STATUS.get(status, ProblemError)(f"{detail} ({code})")
    error.code, error.status, error.detail = code, status, detail
    error.title = str(problem.get("title", ""))
    error.errors = _mistakes(problem.get("errors"))
    error.request_id = response.headers.get("x-request-id")
    error.retry_after = retry_after(response.headers.get("retry-after"))
    error.may_be_published = status >= 500 and code not in _NOT_TAKEN
    return error


def _unexpected(status: int, base: str) -> UnexpectedResponseError:
    if status in (502, 504):
        advice = "the proxy there cannot reach the daemon: check that the daemon is running"
    else:
        advice = "this is not the answer of a tidings daemon: check the address and the path in the URL"
    error = UnexpectedResponseError(f"{base} answered with status {status}; {advice}")
    error.status = status
    error.may_be_published = status >= 500
    return error


def _mistakes(value: object) -> tuple[Mistake, ...]:
    if not isinstance(value, list):
        return ()
    entries = [cast("dict[str, Any]", entry) for entry in cast("Sequence[object]", value) if isinstance(entry, dict)]
    return tuple(Mistake(str(entry.get("pointer", "")), str(entry.get("message", ""))) for entry in entries)


def connection_error(cause: Exception, base: str) -> ConnectionFailedError:
    """The error for a request to `base` that got no answer."""
    reason = str(cause) or type(cause).__name__
    if isinstance(cause, httpx.ReadTimeout):
        error = ConnectionFailedError(f"the daemon at {base} did not answer in time; try again, or look at its log")
    elif isinstance(cause, httpx.PoolTimeout):
        error = ConnectionFailedError(f"no connection to {base} is free: raise `max_connections` of your httpx client")
    elif "CERTIFICATE_VERIFY_FAILED" in reason:
        advice = "name the authority with SSL_CERT_FILE, or pass an httpx client with `verify=`"
        error = ConnectionFailedError(f"cannot reach the daemon at {base}: {reason}; {advice}")
    elif isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
        error = ConnectionFailedError(
            f"cannot reach the daemon at {base}: {reason}; check the URL, and that the daemon is running"
        )
    else:
        error = ConnectionFailedError(f"the connection to the daemon at {base} broke: {reason}")
    if isinstance(cause, httpx.TimeoutException):
        error.code = "timeout"
    # httpx raises these before it has sent anything.
    error.sent = not isinstance(
        cause,
        httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError | httpx.UnsupportedProtocol,
    )
    error.may_be_published = error.sent
    return error
