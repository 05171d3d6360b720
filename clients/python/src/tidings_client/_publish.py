"""Publishing: every event has an id before the first attempt, and each attempt sends the same ids.

The daemon takes an id once, so a retry after a lost answer publishes nothing twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from ._core import ANSWER_TIMEOUT, Core, document, no_daemon, write_time
from ._errors import TidingsError
from ._event import Accepted, Attribute
from ._flow import Flow, Send
from ._json import dumps
from ._model import EventData, channel_of


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to publish, with attributes of its own. What is left out, the daemon adds."""

    #: The data: an object of a class of event data, or a mapping, which needs `type`.
    data: EventData | Mapping[str, Any]
    type: str | None = None
    #: A publisher that may publish the same event again, such as after its own restart, gives it the same id.
    id: str | None = None
    #: The publisher: a URI-reference (RFC 3986).
    source: str | None = None
    subject: str | None = None
    #: When it happened: an RFC 3339 time, or a `datetime` with a time zone.
    time: datetime | str | None = None
    #: Further attributes, such as `traceparent`. Their names have `a-z` and `0-9` only.
    extensions: Mapping[str, Attribute] | None = None

    def attributes(self) -> dict[str, Any]:
        """The event as a JSON object, with an id."""
        if isinstance(self.data, EventData):
            type_ = self.type or channel_of(type(self.data))
        elif self.type is None:
            raise TypeError("data that is no object of a class of event data needs a type: NewEvent(data, type=…)")
        else:
            type_ = self.type
        event: dict[str, Any] = {
            **(self.extensions or {}),
            "specversion": "1.0",
            "type": type_,
            "id": str(uuid.uuid4()) if self.id is None else self.id,
            "source": self.source,
            "subject": self.subject,
            "time": write_time(self.time) if isinstance(self.time, datetime) else self.time,
            "data": self.data,
        }
        return {name: value for name, value in event.items() if value is not None}


#: What `publish` takes: data of a class, an event with attributes of its own, or a CloudEvent as a mapping.
Publishable: TypeAlias = "EventData | NewEvent | Mapping[str, Any]"


def event_with(
    event: Publishable,
    id: str | None,
    source: str | None,
    subject: str | None,
    time: datetime | str | None,
    extensions: Mapping[str, Attribute] | None,
) -> Publishable:
    """The event with these attributes, as far as they are given."""
    given: dict[str, Any] = {"id": id, "source": source, "subject": subject, "time": time, "extensions": extensions}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return event
    if isinstance(event, EventData):
        event = NewEvent(event)
    if not isinstance(event, NewEvent):
        raise TypeError("write the attributes into the mapping, or publish NewEvent(data, type=…)")
    return replace(event, **given)


def publish_one(core: Core, event: Publishable, retry_timeout: float | None) -> Flow[Accepted]:
    """Publishes one event."""
    accepted = yield from _post(core, _attributes(event), retry_timeout)
    return accepted[0]


def publish_all(core: Core, events: Iterable[Publishable], retry_timeout: float | None) -> Flow[list[Accepted]]:
    """Publishes several events. The daemon takes none unless all are valid."""
    return (yield from _post(core, [_attributes(event) for event in events], retry_timeout))


def _attributes(event: Publishable) -> dict[str, Any]:
    if isinstance(event, EventData):
        return NewEvent(event).attributes()
    if isinstance(event, NewEvent):
        return event.attributes()
    if not isinstance(event, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"an event is an object of a class of event data, a NewEvent or a mapping, not {event!r}")
    if event.get("id") is None:
        return {**event, "id": str(uuid.uuid4())}
    return dict(event)


def _post(core: Core, body: dict[str, Any] | list[dict[str, Any]], retry_timeout: float | None) -> Flow[list[Accepted]]:
    events = body if isinstance(body, list) else [body]
    headers = {"accept": "application/json", "content-type": "application/json"}
    send = Send("POST", "/v1/events", headers, ANSWER_TIMEOUT, content=dumps(body).encode())
    try:
        response = yield from core.call(send, retry_timeout, ok=202)
        return _accepted(document(response, core.base), core.base)
    except TidingsError as error:
        error.ids = tuple(str(event["id"]) for event in events)
        raise


def _accepted(answer: dict[str, Any], base: str) -> list[Accepted]:
    try:
        return [Accepted(a["id"], a["type"], a["position"], a["duplicate"]) for a in answer["accepted"]]
    except (KeyError, TypeError) as cause:
        raise no_daemon(base, 202) from cause
