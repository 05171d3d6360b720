"""The examples of the documents: type checkers accept them, and the first one does what the text says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from daemon import ROOT, Daemon

DOCUMENTS = [ROOT / "docs/python.md", ROOT / "clients/python/README.md"]
#: Its example follows a channel with threads.
README = ROOT / "README.md"

#: What the examples take from the program around them.
AROUND = """
from __future__ import annotations
import asyncio, httpx, math, ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from tidings_client import *
identity: httpx.AsyncClient
event: OrderStatusChange
class FastAPI: ...
def load_cursor() -> str | None: ...
def save_cursor(cursor: str) -> None: ...
async def reload_orders() -> None: ...
async def apply(data: OrderStatusChange) -> None: ...
"""


def examples(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def test_the_examples_have_the_right_types(tmp_path: Path) -> None:
    files: list[str] = []
    for path in [*DOCUMENTS, README]:
        for code in examples(path):
            if "bus, bus" not in code and re.search(
                r"^(await|async with|\w+ = await|try|for|batch|page)\b", code, re.MULTILINE
            ):
                code = textwrap.indent(code, "    ")
                head = "async def example(bus: AsyncTidings) -> None:\n"
                code = head + code
            if "anext(events)" in code:
                code = code.replace("AsyncTidings)", "AsyncTidings, events: AsyncSubscription[InventoryChange])")
            file = tmp_path / f"example_{len(files)}.py"
            file.write_text(AROUND + code)
            files.append(str(file))
    assert len(files) > 12
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MYPYPATH": str(ROOT / "clients/python/src")}
    command = [sys.executable, "-m", "mypy", "--python-version", "3.11", "--disable-error-code", "empty-body", *files]
    mypy = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert mypy.returncode == 0, mypy.stdout + mypy.stderr


@pytest.mark.parametrize("path", [*DOCUMENTS, README], ids=["python.md", "README.md", "root"])
def test_the_first_example_runs(path: Path, shared: Daemon) -> None:
    code = examples(path)[0].replace("http://127.0.0.1:7400", shared.url)
    command = [sys.executable, "-u", "-c", code]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
        assert program.stdout is not None
        line = program.stdout.readline()
        program.kill()
    assert line == ("92 left\n" if path == README else "93 left of 123\n")
