"""JSON whose numbers are exact: integers of any size, and fractions as `Decimal`.

The daemon delivers numbers as they were written. A `float` would change `1.10` and `0.1234567890123456789`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import Enum
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import to_jsonable_python


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def loads(text: str | bytes) -> Any:
    """Reads JSON. Raises `ValueError` for any other text."""
    return _DECODER.decode(text if isinstance(text, str) else text.decode())


def dumps(value: object) -> str:
    """Writes JSON, with each `Decimal` as a number.

    Pydantic models, dates, UUIDs and what else pydantic knows are written as pydantic writes them. Raises `ValueError`
    for a number that JSON does not have (NaN, infinity), and for a value that contains itself.
    """
    try:
        return "".join(_parts(value))
    except RecursionError:
        raise ValueError("the value is nested too deeply, or contains itself") from None


def _parts(value: object) -> Iterator[str]:
    # bool is an int, and an Enum may be a str or an int: the order matters.
    if value is None or value is True or value is False:
        yield {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, Enum):
        yield from _parts(value.value)
    elif isinstance(value, str):
        yield json.dumps(value)
    elif isinstance(value, int):
        yield int.__repr__(value)
    elif isinstance(value, float | Decimal):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number of JSON: use None or a string")
        yield float.__repr__(value) if isinstance(value, float) else str(value)
    elif isinstance(value, BaseModel):
        # Not `mode="json"`, which writes a Decimal as a string.
        yield from _parts(value.model_dump(by_alias=True))
    elif isinstance(value, Mapping):
        yield from _members(value)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, Sequence | AbstractSet) and not isinstance(value, bytes | bytearray):
        yield from _items(cast("Sequence[Any]", value))
    else:
        yield json.dumps(to_jsonable_python(value))


def _members(value: Mapping[Any, Any]) -> Iterator[str]:
    separator = "{"
    for key, member in value.items():
        if isinstance(key, Enum):
            key = key.value
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r} is not a string")
        yield f"{separator}{json.dumps(key)}:"
        yield from _parts(member)
        separator = ","
    yield "}" if separator == "," else "{}"


def _items(value: Sequence[Any]) -> Iterator[str]:
    separator = "["
    for item in value:
        yield separator
        yield from _parts(item)
        separator = ","
    yield "]" if separator == "," else "[]"
