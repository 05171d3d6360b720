"""Over TLS."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from daemon import Daemon

from tidings_client import ConnectionFailedError, Event, OrderStatusChange, Tidings

SHIPPED = OrderStatusChange(orderId="o-1", newStatus="shipped")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-out", "cert.pem"]
    subprocess.run(["openssl", "req", "-x509", *key, *name], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    flags = ("--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem"))
    with Daemon(*flags, check=False) as daemon:
        yield f"https://127.0.0.1:{daemon.port}"


def test_an_authority_of_ones_own(url: str, folder: Path) -> None:
    context = ssl.create_default_context(cafile=folder / "cert.pem")
    with (
        httpx.Client(verify=context) as http,
        Tidings(url, http=http) as bus,
        bus.subscribe(OrderStatusChange) as events,
        ThreadPoolExecutor(1) as pool,
    ):
        bus.publish(SHIPPED)
        assert isinstance(next(events), Event)
        begun = threading.Event()

        def loop() -> int:
            begun.set()
            return len(list(events))

        ended = pool.submit(loop)
        assert begun.wait(20)
        events.close()
        assert ended.result(20) == 0


def test_an_unknown_authority_is_named(url: str) -> None:
    with Tidings(url) as bus, pytest.raises(ConnectionFailedError, match="name the authority with SSL_CERT_FILE"):
        bus.publish(SHIPPED)
