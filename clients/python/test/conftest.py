"""What the tests share."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
from both import connected
from daemon import OWN_TYPES, Daemon, wait_for


class Connect(Protocol):
    """Makes a client."""

    def __call__(self, *arguments: Any, **options: Any) -> AbstractAsyncContextManager[Any]: ...


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["asyncio", "threads"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Makes clients, once of each kind."""
    return partial(connected, request.param)


@pytest.fixture(scope="session")
def shared() -> Iterator[Daemon]:
    """A daemon that no test ends, with a type of one's own."""
    with Daemon("--schemas", str(OWN_TYPES), "--heartbeat", "1s") as daemon:
        yield daemon


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis server of one's own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(port), "the start of Redis")
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(30)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
