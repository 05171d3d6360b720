"""The client for threads."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar, overload

import httpx
from typing_extensions import Self

from ._core import Core, Since, Where, channel_names
from ._event import Accepted, Attribute, Channel, Page
from ._flow import Flow
from ._history import channel_list, history, type_schema, type_schemas
from ._io import SyncIO, drive, timeout
from ._model import EventData
from ._publish import Publishable, event_with, publish_all, publish_one
from ._stream import HEARTBEAT_TIMEOUT, Following
from ._subscription import Subscription
from ._token import SyncCredential, Token

D = TypeVar("D", bound=EventData)
T = TypeVar("T")


class Tidings:
    """A client of the event bus for programs with threads. `AsyncTidings` is the same for asyncio.

    ```python
    with Tidings("http://127.0.0.1:7400") as bus:
        bus.publish(OrderStatusChange(orderId="o-1", newStatus="shipped"))
    ```

    It opens nothing before the first call. Threads may share it; each subscription takes one connection.

    Args:
        urls: The URL of the daemon, or those of several nodes of one bus: where one fails, the next is asked.
        token: A token or an API key, or a function that returns one. The function is called again
            before a JSON Web Token ends, and when the daemon refuses the token.
        http: An httpx client of your own, for proxies, certificates and limits. You close it. Its `timeout` is not
            used.
        retry_timeout: How long to try again, in seconds. With 0, each node is tried once. By default, a call fails at
            once if no node can be reached, and is tried for 15 s if one refused for the moment or did not answer. A
            subscription that stands is resumed without end.
    """

    def __init__(
        self,
        urls: str | Sequence[str] = "http://127.0.0.1:7400",
        *,
        token: Token | None = None,
        http: httpx.Client | None = None,
        retry_timeout: float | None = None,
    ) -> None:
        self._credential = None if token is None else SyncCredential(token)
        self._core = Core(urls, self._credential, retry_timeout)
        self._is_closed = False
        self._owns_http = http is None
        self._http = http or httpx.Client(timeout=timeout(15), limits=httpx.Limits(max_keepalive_connections=20))
        self._subscriptions: weakref.WeakSet[Subscription[Any]] = weakref.WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all subscriptions, and closes the connections."""
        self._is_closed = True
        for subscription in list(self._subscriptions):
            subscription.close()
        if self._owns_http:
            self._http.close()

    def publish(
        self,
        event: Publishable,
        /,
        *,
        id: str | None = None,
        source: str | None = None,
        subject: str | None = None,
        time: datetime | str | None = None,
        extensions: Mapping[str, Attribute] | None = None,
        retry_timeout: float | None = None,
    ) -> Accepted:
        """Publishes an event, and returns when the daemon has taken it.

        All attempts send the same id: the daemon takes it once. `retry_timeout` is as in the constructor.

        Args:
            event: An object of a class of event data, a `NewEvent`, or a CloudEvent as a mapping.
            id: A program that may publish the same event again, such as after a crash, gives it the same id.
            source: The publisher, a URI-reference. By default the name of the credential.
            subject: What it is about. By default the key field of the type.
            time: When it happened. By default now.
            extensions: Further attributes, such as `{"traceparent": …}`.

        Raises:
            InvalidError: the event does not fit its type; `errors` has all mistakes.
            TidingsError: it was not taken, or that is not known (`may_be_published`). `ids` has its id.
        """
        event = event_with(event, id, source, subject, time, extensions)
        return self._run(publish_one(self._core, event, retry_timeout))

    def publish_all(self, events: Iterable[Publishable], *, retry_timeout: float | None = None) -> list[Accepted]:
        """Publishes up to 1,000 events in their order. The daemon takes none unless all are valid.

        Raises: as `publish`. The pointers of `errors` begin with the index of the event.
        """
        return self._run(publish_all(self._core, events, retry_timeout))

    @overload
    def subscribe(
        self,
        *channels: str,
        where: Where | None = None,
        since: Since | None = None,
        heartbeat_timeout: float = HEARTBEAT_TIMEOUT,
        retry_timeout: float | None = None,
    ) -> Subscription[dict[str, Any]]: ...
    @overload
    def subscribe(
        self,
        *channels: type[D],
        where: Where | None = None,
        since: Since | None = None,
        heartbeat_timeout: float = HEARTBEAT_TIMEOUT,
        retry_timeout: float | None = None,
    ) -> Subscription[D]: ...
    @overload
    def subscribe(
        self,
        *channels: type[EventData] | str,
        where: Where | None = None,
        since: Since | None = None,
        heartbeat_timeout: float = HEARTBEAT_TIMEOUT,
        retry_timeout: float | None = None,
    ) -> Subscription[Any]: ...
    def subscribe(
        self,
        *channels: type[EventData] | str,
        where: Where | None = None,
        since: Since | None = None,
        heartbeat_timeout: float = HEARTBEAT_TIMEOUT,
        retry_timeout: float | None = None,
    ) -> Subscription[Any]:
        """Subscribes to channels: an iterator over `Event` and `Gap`, which resumes after every cut.

        Args:
            channels: Classes of event data, or names: then the data is a `dict`. Without any: all that are granted.
            where: A filter, which the daemon evaluates. It holds for all channels.
            since: Where to begin: the `cursor` of an item, `"start"`, a time, an age. By default with the next event.
            heartbeat_timeout: The seconds without a byte after which the connection is dead: more than two of the
                daemon's `heartbeat`.
            retry_timeout: How long to try to connect, at the beginning and after each cut, in seconds.

        Raises:
            The subscription raises these, when it is entered or iterated.

            TidingsError: the daemon refuses it, or cannot be reached at the beginning.
            DataError: the data of an event does not fit its class. The next `next` goes on after it.
        """
        self._check_open()
        names, models = channel_names(channels)
        following = Following(self._core, names, models, where, since, heartbeat_timeout, retry_timeout)
        subscription: Subscription[Any] = Subscription(following, SyncIO(self._http, self._credential))
        self._subscriptions.add(subscription)
        return subscription

    @overload
    def history(
        self, *channels: str, where: Where | None = None, since: Since | None = None, limit: int = 100, wait: int = 0
    ) -> Page[dict[str, Any]]: ...
    @overload
    def history(
        self,
        *channels: type[D],
        where: Where | None = None,
        since: Since | None = None,
        limit: int = 100,
        wait: int = 0,
    ) -> Page[D]: ...
    @overload
    def history(
        self,
        *channels: type[EventData] | str,
        where: Where | None = None,
        since: Since | None = None,
        limit: int = 100,
        wait: int = 0,
    ) -> Page[Any]: ...
    def history(
        self,
        *channels: type[EventData] | str,
        where: Where | None = None,
        since: Since | None = None,
        limit: int = 100,
        wait: int = 0,
    ) -> Page[Any]:
        """Reads one page of the log. The next one begins at its `cursor`.

        Args:
            channels, where: As of `subscribe`.
            since: Where to begin. By default with the oldest event of the log.
            limit: The most events of the page, up to 1,000.
            wait: How long the daemon waits for an event if it has none, in seconds, up to 30.
        """
        names, models = channel_names(channels)
        return self._run(history(self._core, names, models, where, since, limit, wait))

    def channels(self) -> list[Channel]:
        """Lists the channels that the token sees."""
        return self._run(channel_list(self._core))

    def types(self) -> dict[str, dict[str, Any]]:
        """Gets the JSON Schema (2020-12) of the data of each type."""
        return self._run(type_schemas(self._core))

    def schema(self, type: str, /) -> dict[str, Any]:
        """Gets the JSON Schema of the data of one type. `"event"` is that of whole events, of all types."""
        return self._run(type_schema(self._core, type))

    def _run(self, flow: Flow[T]) -> T:
        self._check_open()
        return drive(flow, SyncIO(self._http, self._credential).perform)

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the client is closed")
