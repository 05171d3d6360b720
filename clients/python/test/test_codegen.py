"""The classes of event types: those that are committed, and those that the command writes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon import OWN_TYPES, ROOT, Authority, Daemon, run
from own_types import Money, PriceChange
from pydantic import ValidationError

from tidings_client import Event, EventData, Tidings, codegen
from tidings_client._model import channel_of
from tidings_client.types import CacheInvalidate, DataUpdate, FinanceChange, InventoryChange, OrderStatusChange

HERE = Path(__file__).parent

#: Valid data of each type, with all of its fields.
VALID: list[tuple[type[EventData], dict[str, Any]]] = [
    (
        CacheInvalidate,
        {"tags": ["a"], "keys": ["b"], "prefixes": ["c"], "reason": "d", "staleForMs": 0, "holdMs": 60000},
    ),
    (DataUpdate, {"resource": "product", "id": "1", "action": "update", "version": 2**53 - 1}),
    (InventoryChange, {"productId": "1", "variantId": "2", "oldQuantity": -1, "newQuantity": 0, "reason": ""}),
    (OrderStatusChange, {"orderId": "1", "oldStatus": "pending", "newStatus": "shipped", "customerId": "2"}),
    (FinanceChange, {"entity": "refund", "id": "1", "amountMinor": 5, "currency": "EUR", "status": "done"}),
    (
        PriceChange,
        {
            "sku": "a",
            "price": {"amount": 2**63 + 1, "currency": "EUR"},
            "was": {"amount": 4, "currency": "EUR"},
            "labels": {"a": "b"},
            "channels": ["web", "shop"],
            "range": ["2026-11-21", None],
            "reason": {"kind": "match", "rival": "c"},
            "parts": [{"sku": "b", "price": {"amount": 1, "currency": "EUR"}}],
        },
    ),
]
#: The same without the fields that are optional.
SMALL: list[tuple[type[EventData], dict[str, Any]]] = [
    (CacheInvalidate, {"keys": ["b"]}),
    (DataUpdate, {"resource": "product", "id": "1", "action": "create"}),
    (InventoryChange, {"productId": "1", "oldQuantity": 1, "newQuantity": 0, "reason": "sale"}),
    (OrderStatusChange, {"orderId": "1", "newStatus": "shipped"}),
    (FinanceChange, {"entity": "refund", "id": "1", "amountMinor": 5, "currency": "EUR"}),
    (PriceChange, {"sku": "a", "price": {"amount": 1, "currency": "EUR"}}),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The schemas of the built-in types and of one of one's own."""
    folder = tmp_path_factory.mktemp("schemas")
    run("schema", "export", "--schemas", str(OWN_TYPES), "--out", str(folder))
    return folder


def test_the_committed_classes_are_those_of_the_committed_schemas() -> None:
    types = ROOT / "clients/python/src/tidings_client/types.py"
    assert codegen.main(["--schemas", str(ROOT / "schemas"), "--out", str(types), "--check"]) == 0, (
        "run `make generate`"
    )


def test_the_classes_of_the_tests_are_those_of_their_schemas(exported: Path) -> None:
    out = str(HERE / "own_types.py")
    assert codegen.main(["--schemas", str(exported), "--out", out, "--check"]) == 0, "run `make generate`"


def test_a_daemon_gives_the_same_as_its_files(
    shared: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "events.py"
    command = [sys.executable, "-m", "tidings_client.codegen", "--url", shared.url, "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert f"wrote {out}" in subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert out.read_text() == (HERE / "own_types.py").read_text()
    out.write_text("")
    assert codegen.main(["--url", shared.url, "--out", str(out), "--check"]) == 1
    assert "out of date" in capsys.readouterr().err


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "events.py")
    assert codegen.main(["--url", "http://127.0.0.1:9", "--out", out]) == 1
    assert "cannot reach the daemon" in capsys.readouterr().err
    assert codegen.main(["--schemas", str(tmp_path), "--out", out]) == 1
    assert "event.schema.json" in capsys.readouterr().err


def test_a_token_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Authority(tmp_path) as authority:
        monkeypatch.setenv("TIDINGS_TOKEN", authority.all())
        assert codegen.main(["--url", authority.daemon.url, "--out", str(tmp_path / "events.py")]) == 0
    assert 'channel="order-status"' in (tmp_path / "events.py").read_text()


@pytest.mark.parametrize(("model", "data"), VALID + SMALL)
def test_data_makes_the_round_trip(shared: Daemon, model: type[EventData], data: dict[str, Any]) -> None:
    """From JSON to an object, to the daemon, and back: the same object and the same JSON."""
    made = model.model_validate_json(json.dumps(data))
    with Tidings(shared.url) as bus:
        accepted = bus.publish(made)
        typed = bus.history(model, since="start", limit=1000).events[-1]
        plain = bus.history(accepted.type, limit=1000).events[-1]
    assert typed.id == plain.id == accepted.id
    assert plain.data == data
    assert typed.data == made
    assert type(typed.data) is model


def test_wrong_data_is_found_before_it_is_sent() -> None:
    with pytest.raises(ValidationError, match="newStatus"):
        OrderStatusChange.model_validate({"orderId": "1", "newStatus": "lost"})
    with pytest.raises(ValidationError, match="orderid"):
        OrderStatusChange.model_validate({"orderid": "1", "orderId": "1", "newStatus": "shipped"})


def test_types_beyond_json() -> None:
    change = PriceChange(sku="a", price=Money(amount=1, currency="EUR"), range=(date(2026, 11, 21), None))
    assert change.model_dump(mode="json")["range"] == ["2026-11-21", None]


@pytest.fixture(scope="module")
def plain(shared: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The models of pydantic that `GET /v1/schemas` gives without this package, by channel."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "schemas").mkdir()
    with Tidings(shared.url) as bus:
        for name, schema in bus.types().items():
            (folder / f"schemas/{name}.json").write_text(json.dumps(schema))
    command = [sys.executable, "-m", "datamodel_code_generator", "--input", "schemas", "--output", "plain_types"]
    options = [
        "--input-file-type",
        "jsonschema",
        "--output-model-type",
        "pydantic_v2.BaseModel",
        "--formatters",
        "builtin",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, *options], check=True, cwd=folder, env=environment)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
        yield {
            channel: getattr(importlib.import_module(f"plain_types.{channel.replace('-', '_')}"), model.__name__)
            for channel, model in ((channel_of(model), model) for model, _ in SMALL)
        }


def test_the_generator_alone_reads_the_schemas_of_the_daemon(plain: dict[str, Any]) -> None:
    """Data makes the round trip through the models."""
    for model, data in VALID + SMALL:
        made = plain[channel_of(model)].model_validate_json(json.dumps(data))
        assert made.model_dump(mode="json", exclude_unset=True) == data
        assert plain[channel_of(model)].model_validate(made.model_dump()) == made


def test_the_examples_make_the_round_trip(shared: Daemon, plain: dict[str, Any]) -> None:
    """What the daemon makes up of each type becomes an object, and the daemon accepts what the object becomes."""
    document = httpx.get(f"{shared.url}/asyncapi.json").json()
    messages = document["components"]["messages"]
    with Tidings(shared.url) as bus:
        assert set(bus.types()) == set(plain)
        for channel, model in plain.items():
            events = [example["payload"] for example in messages[f"event.{channel}"]["examples"]]
            made_up = run("trigger", channel, "--count", "20", "--seed", "1", "--dry-run", "--url", shared.url)
            events += [json.loads(line) for line in made_up.splitlines()]
            assert len(events) == 22
            for data in (event["data"] for event in events):
                made = model.model_validate(data)
                again = made.model_dump(mode="json", exclude_unset=True)
                assert again == data
                assert bus.publish({"type": channel, "data": again}).type == channel


NUMBERS = {
    "x-tidings-key": "sku",
    "type": "object",
    "required": ["sku", "price", "schema"],
    "properties": {
        "sku": {"type": "string"},
        "price": {"type": "number", "minimum": 0},
        "rate": {"type": ["number", "null"]},
        "step": {"type": "number", "multipleOf": 0.01, "examples": [{"type": "number"}]},
        "rates": {"type": "array", "items": {"type": "number"}},
        "schema": {"type": "string"},
        "channel": {"type": "string"},
    },
}


def test_fractions_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that would shadow attributes of pydantic have an alias, and are published under their own name."""
    (tmp_path / "exact-price.schema.json").write_text(json.dumps(NUMBERS))
    with Daemon("--schemas", str(tmp_path)) as daemon:
        assert codegen.main(["--url", daemon.url, "--out", str(tmp_path / "exact_types.py")]) == 0
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        module: Any = importlib.import_module("exact_types")
        text = '{"sku": "a", "price": 0.1234567890123456789, "rate": 1.10, "step": 0.07, "rates": [1E5], '
        text += '"schema": "s", "channel": "c"}'
        made = module.ExactPrice.model_validate({**json.loads(text, parse_float=Decimal)})
        assert made.price == Decimal("0.1234567890123456789")
        with Tidings(daemon.url) as bus, bus.subscribe(module.ExactPrice) as events:
            bus.publish(made)
            item = next(events)
            plain = bus.history("exact-price").events[0]
        assert isinstance(item, Event)
        assert item.data == made
        assert str(plain.data["price"]) == "0.1234567890123456789"
        assert str(plain.data["rate"]) == "1.10"
        assert (plain.data["step"], plain.data["rates"]) == (Decimal("0.07"), [100_000])
        assert (plain.data["schema"], plain.data["channel"]) == ("s", "c")
