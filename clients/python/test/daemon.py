"""The real daemon as a process, and a proxy that breaks its connections."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[3]
BINARY = os.environ.get("TIDINGS_BIN", str(ROOT / "target/debug/tidings"))
#: A folder with a type of one's own, `price-change`.
OWN_TYPES = ROOT / "clients/typescript/test/own"


def wait_for(condition: Callable[[], bool], what: str = "it", seconds: float = 20) -> None:
    """Waits for a condition, and fails after a time that only a broken program needs."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.01)


def run(*arguments: str, cwd: Path | None = None) -> str:
    """Runs a command of the program."""
    return subprocess.run([BINARY, *arguments], check=True, capture_output=True, text=True, cwd=cwd).stdout.strip()


class Daemon:
    """A running daemon."""

    def __init__(self, *flags: str, port: int = 0, check: bool = True) -> None:
        self._flags = flags
        self._start(port)
        if check:
            wait_for(self.is_ready, "readiness")

    def _start(self, port: int) -> None:
        command = [BINARY, "serve", "--listen", f"127.0.0.1:{port}", "--log-format", "json", *self._flags]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout is not None
        output = self._process.stdout
        seen = ""
        while (found := re.search(r"https?://127\.0\.0\.1:([1-9]\d*)\b", seen)) is None:
            line = output.readline()
            assert line, f"the daemon ended before it listened:\n{seen}"
            seen += line
        self.port = int(found[1])
        # Nobody may wait for a full pipe.
        self._reader = threading.Thread(target=lambda: [None for _ in output], daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def subscribers(self, channel: str) -> int:
        """How many subscribers a channel has, as the daemon counts them."""
        channels = httpx.get(f"{self.url}/v1/channels").json()["channels"]
        count: int = next(entry["subscribers"] for entry in channels if entry["type"] == channel)
        return count

    def restart(self, *flags: str) -> None:
        """Starts the daemon again at the same port, with further flags."""
        self._flags = (*self._flags, *flags)
        self._start(self.port)
        wait_for(self.is_ready, "readiness")

    def terminate(self) -> None:
        """Sends SIGTERM, which begins a drain, and waits for the end."""
        self._process.send_signal(signal.SIGTERM)
        self._end()

    def kill(self) -> None:
        """Ends the daemon at once, without a drain."""
        self._process.kill()
        self._end()

    def _end(self) -> None:
        self._process.wait(30)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def pause(self) -> None:
        """Stops the process, so that it answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets the process run again."""
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self.kill()


class Authority:
    """A daemon that wants credentials, and the tokens for it."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self._folder = folder
        run("auth", "init", cwd=folder)
        self.daemon = Daemon("--auth", str(folder / "auth.toml"), *flags)

    def token(self, *arguments: str, sub: str = "me", ttl: str = "1h") -> str:
        """A token with these grants."""
        return run("token", "issue", "--sub", sub, "--ttl", ttl, *arguments, cwd=self._folder)

    def all(self, ttl: str = "1h", sub: str = "me") -> str:
        """A token that may do everything."""
        return self.token("--publish", "*", "--subscribe", "*", "--admin", "revoke", ttl=ttl, sub=sub)

    def __enter__(self) -> Authority:
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.__exit__()


class Proxy:
    """A TCP proxy between a client and its daemon."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_open = True
        self._is_frozen = False
        #: After how many bytes of the daemon each of the next connections is cut.
        self.cuts: list[int] = []
        #: How many connections there were.
        self.connections = 0
        #: What the clients have sent.
        self.requests = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            if not self._is_open:
                _reset(client)
                continue
            try:
                daemon = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                _reset(client)
                continue
            with self._lock:
                self._sockets |= {client, daemon}
            cut = self.cuts.pop(0) if self.cuts else None
            threading.Thread(target=self._pipe, args=(client, daemon, True, None), daemon=True).start()
            threading.Thread(target=self._pipe, args=(daemon, client, False, cut), daemon=True).start()

    def _pipe(self, source: socket.socket, target: socket.socket, is_request: bool, cut: int | None) -> None:
        sent = 0
        try:
            while data := source.recv(65536):
                while self._is_frozen:
                    time.sleep(0.01)
                if is_request:
                    self.requests += data
                elif cut is not None and sent + len(data) >= cut:
                    target.sendall(data[: cut - sent])
                    break
                target.sendall(data)
                sent += len(data)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._sockets.discard(end)
            end.close()

    def cut(self) -> None:
        """Cuts all connections, even in the middle of an event."""
        with self._lock:
            sockets = list(self._sockets)
        for end in sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cuts all connections, and refuses new ones until `mend`."""
        self._is_open = False
        self.cut()

    def freeze(self) -> None:
        """Lets nothing through any more, and closes nothing: as a network does that loses every packet."""
        self._is_frozen = True

    def mend(self) -> None:
        """Works again."""
        self._is_open, self._is_frozen = True, False

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._is_frozen = False
        self.close()


def _reset(connection: socket.socket) -> None:
    connection.close()


def order(number: int) -> dict[str, Any]:
    """A valid event with this number."""
    return {"type": "order-status", "data": {"orderId": f"o-{number}", "newStatus": "shipped"}}


def publish(daemon: Daemon, events: Sequence[dict[str, Any]]) -> None:
    """Publishes events without the client."""
    response = httpx.post(f"{daemon.url}/v1/events", json=list(events))
    assert response.status_code == 202, response.text
