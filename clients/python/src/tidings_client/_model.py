"""The base classes of event data, as pydantic models."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Model(BaseModel):
    """An object within event data. Fields have the names that they have in JSON.

    A field that is not required and is `None` is left out when the object is written: in the schemas, an optional field
    is absent, not null.
    """

    model_config = ConfigDict(extra="forbid")

    # Without a return type, the JSON Schema of what is written is that of the fields.
    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        written: dict[str, Any] = handler(self)
        for name, field in type(self).model_fields.items():
            if getattr(self, name, None) is None and not field.is_required():
                written.pop(name, None)
                written.pop(field.serialization_alias or name, None)
        return written

    def __eq__(self, other: object) -> bool:
        """Whether the fields are the same. Before pydantic 2.14, data that was received would differ from data that was
        made.
        """
        if not isinstance(other, Model) or type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__ and (self.model_extra or {}) == (other.model_extra or {})


class EventData(Model):
    """The data of an event. A subclass names its channel, which is the type of its events:

    ```python
    class PriceChange(EventData, channel="price-change"):
        sku: str
        cents: int
    ```

    The daemon validates what is published, by the schema. A class that says less than its schema is fine.
    """

    __tidings_channel__: ClassVar[str | None] = None

    def __init_subclass__(cls, *, channel: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if channel is not None:
            cls.__tidings_channel__ = channel


def channel_of(model: object) -> str:
    """The channel of a class of event data. Raises `TypeError` for anything else."""
    if not (isinstance(model, type) and issubclass(model, EventData)):
        raise TypeError(f"a channel is a name or a class of event data, not {model!r}")
    channel = model.__tidings_channel__
    if channel is None:
        raise TypeError(
            f'{model.__name__} has no channel: declare it as class {model.__name__}(EventData, channel="…")'
        )
    return channel
