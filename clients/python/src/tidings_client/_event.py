"""What the client hands out: events, gaps, and the daemon's answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Generic, TypeAlias

from typing_extensions import TypeVar

D_co = TypeVar("D_co", covariant=True, default=dict[str, Any])

#: The value of an attribute of CloudEvents.
Attribute: TypeAlias = "str | bool | int"


@dataclass(frozen=True, slots=True)
class Event(Generic[D_co]):
    """An event as it was delivered: a CloudEvent (CloudEvents 1.0).

    `isinstance(item, Event)` tells it from a `Gap`, and the class of `data` tells one type from another.
    """

    #: The type of the event, which is the name of its channel.
    type: str
    #: The data: an object of the class that was asked for, or a `dict` with exact numbers (`int`, `Decimal`).
    data: D_co
    id: str
    #: The publisher.
    source: str
    #: What it is about, such as the id of a product.
    subject: str | None
    #: The time as it was given: an RFC 3339 time.
    time: str
    #: All attributes as they were delivered, `traceparent` and other extensions among them.
    attributes: Mapping[str, Attribute]
    #: The position in the channel. `None` on a stream of so many channels that the daemon packs its cursors.
    position: str | None
    #: What a subscription resumes from after this item: save it, and pass it as `since`. Empty in a `Page`, which has
    #: one.
    cursor: str

    @property
    def at(self) -> datetime:
        """`time` as a `datetime`, which has microseconds and no leap seconds: 23:59:60 is read as 23:59:59.999999."""
        return read_time(self.time)


@dataclass(frozen=True, slots=True)
class Gap:
    """A range of a channel that is lost. Read the state that depends on the channel anew.

    It stands where the events would have been. The events after `from_`, up to and including `position`, are lost.
    """

    channel: str
    #: The last position before the lost range (`from` in JSON).
    from_: str
    #: The last position of the lost range.
    position: str
    #: As `Event.cursor`.
    cursor: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The daemon's confirmation of an event."""

    id: str
    type: str
    #: The position in the channel.
    position: str
    #: Whether this id was published before. If so, the event is not delivered again.
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[D_co]):
    """One answer of the log. Iterating it gives `items`."""

    #: Events and gaps. Those of one channel are in the order of its log.
    items: tuple[Event[D_co] | Gap, ...]
    #: Where the next page begins: pass it as `since`.
    cursor: str

    def __iter__(self) -> Iterator[Event[D_co] | Gap]:
        return iter(self.items)

    @property
    def events(self) -> list[Event[D_co]]:
        """The events alone."""
        return [item for item in self.items if isinstance(item, Event)]

    @property
    def gaps(self) -> list[Gap]:
        """The gaps alone. Where there is one, `events` is not all that was published."""
        return [item for item in self.items if isinstance(item, Gap)]


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel, as `channels()` lists it."""

    type: str
    #: The URI of the schema of its data.
    schema: str
    #: The position of the newest event.
    position: str
    #: The events in the log. `None` if the token sees only some of the channel's events.
    retained: int | None
    #: The subscribers at this node. `None` as above.
    subscribers: int | None
    #: Events of all nodes in a second, averaged over the last ten seconds. `None` as above, and from a daemon that is
    #: older than this count.
    rate_per_second: float | None = None
    #: Events that were appended through this node since it started, with those of cascades. `None` as above.
    published: int | None = None
    #: Events published through this node whose `id` had been published before. `None` as above.
    duplicates: int | None = None
    #: Events that this node refused, for a mistake or a missing grant. `None` as above.
    refused: int | None = None


def read_time(text: str) -> datetime:
    """Reads an RFC 3339 time."""
    date, time, offset = text[:10], text[11:], "+00:00"
    if time[-1:] in "zZ":
        time = time[:-1]
    else:
        time, offset = time[:-6], time[-6:]
    clock, _, fraction = time.partition(".")
    if clock.endswith(":60"):
        clock, fraction = f"{clock[:-2]}59", "999999"
    hours, minutes = offset[1:].split(":")
    away = timedelta(hours=int(hours), minutes=int(minutes))
    zone = timezone(-away if offset.startswith("-") else away)
    return datetime.fromisoformat(f"{date}T{clock}").replace(microsecond=int(f"{fraction:0<6.6}"), tzinfo=zone)
