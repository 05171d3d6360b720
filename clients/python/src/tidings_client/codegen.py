"""Writes the classes of event types, as pydantic models.

    python -m tidings_client.codegen --url http://127.0.0.1:7400 --out events.py
    python -m tidings_client.codegen --schemas DIRECTORY --out events.py [--check]

It takes the schemas of a daemon, or those that `tidings schema export` wrote, and needs the package
`datamodel-code-generator`: `pip install 'tidings-client[codegen]'`. With the built-in types come those of your own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ._client import Tidings
from ._errors import TidingsError
from ._json import dumps, loads

_HEADER = '"""The data of events. Written by `python -m tidings_client.codegen`: do not edit."""'

#: What the definitions of the event's schema are, which are not data.
_ENVELOPE = frozenset({"Attributes", "Extension"})

_OPTIONS = (
    "--input-file-type=jsonschema",
    "--output-model-type=pydantic_v2.BaseModel",
    "--target-python-version=3.10",
    "--target-pydantic-version=2.12",
    "--base-class=tidings_client.Model",
    "--enum-field-as-literal=all",
    "--use-type-alias",
    "--use-annotated",
    "--use-tuple-for-fixed-items",
    "--use-schema-description",
    "--use-field-description",
    "--use-inline-field-description",
    "--use-single-line-docstring",
    "--use-double-quotes",
    "--skip-root-model",
    "--disable-timestamp",
    # Whatever formatters are installed, the result is the same.
    "--formatters=builtin",
    f"--custom-file-header={_HEADER}",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns its exit code."""
    parser = argparse.ArgumentParser(
        "python -m tidings_client.codegen", description="Write the classes of event types."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--url", help="take the types of this daemon, with the token in TIDINGS_TOKEN if there is one")
    source.add_argument("--schemas", type=Path, help="take the types that `tidings schema export` wrote there")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if the file differs")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("datamodel_code_generator") is None:
        print("error: datamodel-code-generator is missing: pip install 'tidings-client[codegen]'", file=sys.stderr)
        return 1
    try:
        schema = _of_folder(options.schemas) if options.url is None else _of_daemon(options.url)
    except (TidingsError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = generate(schema)
    out: Path = options.out
    if not options.check:
        out.write_text(text, encoding="utf-8")
        print(f"wrote {out}")
        return 0
    if out.exists() and out.read_text(encoding="utf-8") == text:
        return 0
    print(f"error: {out} is out of date: write it without --check", file=sys.stderr)
    return 1


def _of_folder(folder: Path) -> dict[str, Any]:
    schema: dict[str, Any] = loads((folder / "event.schema.json").read_text(encoding="utf-8"))
    return schema


def _of_daemon(url: str) -> dict[str, Any]:
    with Tidings(url, token=os.environ.get("TIDINGS_TOKEN") or None) as bus:
        return bus.schema("event")


def generate(event_schema: Mapping[str, Any]) -> str:
    """The Python code of the data classes of this schema, which is that of the whole event.

    Its definitions have all types at its root, each with a name of its own.
    """
    definitions: dict[str, dict[str, Any]] = dict(event_schema["$defs"])
    #: The class of the data of each channel.
    classes: dict[str, str] = {}
    for name in [name for name in definitions if _channel(definitions[name]) is not None]:
        event = definitions.pop(name)
        reference: str = event["properties"]["data"]["$ref"]
        classes[cast("str", _channel(event))] = reference.rpartition("/")[2]
    data = {name: _exact(_flat(schema)) for name, schema in definitions.items() if name not in _ENVELOPE}
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "event.json"), Path(folder, "event.py")
        given.write_text(dumps({"$schema": event_schema["$schema"], "title": "Event", "$defs": data}))
        bases = {name: "tidings_client.EventData" for name in classes.values()}
        command = [sys.executable, "-m", "datamodel_code_generator", f"--input={given}", f"--output={made}"]
        command += [*_OPTIONS, f"--base-class-map={json.dumps(bases)}"]
        subprocess.run(command, check=True)
        code = made.read_text()
    if "(Model)" not in code:
        code = code.replace("from tidings_client import EventData, Model", "from tidings_client import EventData")
    for channel, name in classes.items():
        head = f"class {name}(EventData):"
        if head not in code:
            raise ValueError(f"the data of {channel} is no object with fields: declare its class yourself")
        code = code.replace(head, f'class {name}(EventData, channel="{channel}"):')
    return code


def _channel(definition: Mapping[str, Any]) -> str | None:
    """The channel of a definition that is an event."""
    if {"$ref": "#/$defs/Attributes"} not in definition.get("allOf", []):
        return None
    channel: str | None = definition.get("properties", {}).get("type", {}).get("const")
    return channel


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without an `anyOf` that only says which of the fields are required, as `cache-invalidate` has one.

    A class for each of its alternatives would have the same fields. The daemon refuses an event that fits none of them.
    """
    alternatives: list[dict[str, Any]] = schema.get("anyOf", [])
    fields: Mapping[str, Any] = schema.get("properties", {})
    if fields and all(
        alternative.keys() <= {"required", "properties"} and alternative.get("properties", {}).keys() <= fields.keys()
        for alternative in alternatives
    ):
        return {name: value for name, value in schema.items() if name != "anyOf"}
    return schema


#: The keywords of JSON Schema whose values are no schemas.
_VALUES = frozenset({"const", "default", "enum", "examples"})


def _exact(schema: Any) -> Any:
    """The schema with the format that makes the generator write `Decimal` for numbers: a `float` would round them."""
    if isinstance(schema, list):
        return [_exact(item) for item in cast("Sequence[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    exact: dict[str, Any] = {}
    for keyword, value in cast("dict[str, Any]", schema).items():
        exact[keyword] = value if keyword in _VALUES else _exact(value)
    kind = exact.get("type")
    if kind == "number" or (isinstance(kind, list) and "number" in kind):
        exact["format"] = "decimal"
    return exact


if __name__ == "__main__":
    sys.exit(main())
