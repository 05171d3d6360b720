"""Reading the log, the channels and the schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ._core import Core, Since, Where, query
from ._event import Channel, Event, Gap, Page
from ._flow import Flow
from ._model import EventData
from ._stream import event_of, with_model


def history(
    core: Core,
    channels: tuple[str, ...],
    models: Mapping[str, type[EventData]],
    where: Where | None,
    since: Since | None,
    limit: int,
    wait: int,
) -> Flow[Page[Any]]:
    """Reads one page of the log."""
    params = [*query(channels, where, since), ("limit", str(limit))]
    if wait:
        params.append(("wait", str(wait)))
    answer = yield from core.get("/v1/events", params, wait=wait)
    lost: list[dict[str, str]] = answer["gap"] or []
    gaps = [Gap(gap["channel"], gap["from"], gap["position"], "") for gap in lost]
    items: list[Event[Any] | Gap] = []
    for entry in answer["events"]:
        event = with_model(event_of(entry["event"], entry["position"], ""), models)
        # A gap stands before the first event after its range.
        for gap in [gap for gap in gaps if gap.channel == event.type and not _reaches(gap.from_, entry["position"])]:
            items.append(gap)
            gaps.remove(gap)
        items.append(event)
    return Page((*items, *gaps), answer["cursor"])


def channel_list(core: Core) -> Flow[list[Channel]]:
    """Lists the channels."""
    answer = yield from core.get("/v1/channels")
    return [
        Channel(
            type=one["type"],
            schema=one["schema"],
            position=one["position"],
            retained=one.get("retained"),
            subscribers=one.get("subscribers"),
            rate_per_second=one.get("ratePerSecond"),
            published=one.get("published"),
            duplicates=one.get("duplicates"),
            refused=one.get("refused"),
        )
        for one in answer["channels"]
    ]


def type_schemas(core: Core) -> Flow[dict[str, dict[str, Any]]]:
    """Gets the schemas of all types."""
    answer = yield from core.get("/v1/schemas")
    schemas: dict[str, dict[str, Any]] = answer["schemas"]
    return schemas


def type_schema(core: Core, name: str) -> Flow[dict[str, Any]]:
    """Gets the schema of one type."""
    return (yield from core.get(f"/v1/schemas/{quote(name, safe='')}"))


def _reaches(position: str, other: str) -> bool:
    """Whether a position is the other one or after it. False if their epochs differ, since they cannot be compared
    then."""
    epoch, _, offset = position.rpartition(":")
    other_epoch, _, other_offset = other.rpartition(":")
    return epoch == other_epoch and int(offset) >= int(other_offset)
