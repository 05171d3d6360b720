"""How the steps of a flow are performed with blocking calls."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx

from ._flow import Close, Flow, GetToken, Read, Send, Sleep, Step
from ._token import SyncCredential

T = TypeVar("T")

#: How long a connection, or a place in the pool, may take, in seconds.
CONNECT_TIMEOUT = 5.0


def timeout(read: float) -> httpx.Timeout:
    """The timeouts of a request."""
    return httpx.Timeout(read, connect=CONNECT_TIMEOUT, pool=CONNECT_TIMEOUT)


def build(client: httpx.Client | httpx.AsyncClient, step: Send) -> httpx.Request:
    """The request of a step."""
    return client.build_request(
        step.method,
        step.url,
        headers=dict(step.headers),
        params=step.params or None,
        content=step.content,
        timeout=timeout(step.read_timeout),
    )


def drive(flow: Flow[T], perform: Callable[[Step], Any]) -> T:
    """Runs a flow to its end."""
    try:
        step = next(flow)
        while True:
            try:
                result = perform(step)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


class SyncIO:
    """Performs the steps of one flow."""

    def __init__(self, client: httpx.Client, credential: SyncCredential | None) -> None:
        self._client = client
        self._credential = credential
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._stopped = threading.Event()

    def perform(self, step: Step) -> Any:
        """Performs a step, and returns its result."""
        if isinstance(step, Read):
            return next(self._chunks, None)
        if isinstance(step, Send):
            return self._send(step)
        if isinstance(step, GetToken):
            return None if self._credential is None else self._credential.get()
        if isinstance(step, Sleep):
            self._stopped.wait(step.seconds)
        elif isinstance(step, Close):
            self.close()
        return None

    def _send(self, step: Send) -> httpx.Response:
        self.close()
        response = self._client.send(build(self._client, step), stream=True, follow_redirects=False)
        if step.stream and response.status_code == 200:
            self._response = response
            self._chunks = response.iter_bytes()
            return response
        try:
            response.read()
        finally:
            response.close()
        return response

    def stop(self) -> None:
        """Ends, from another thread, the step that is performed: a wait, or the read of a stream."""
        self._stopped.set()
        response = self._response
        if response is None:
            return
        stream = response.extensions.get("network_stream")
        connection = None if stream is None else stream.get_extra_info("socket")
        if isinstance(connection, socket.socket):
            # A read in another thread does not notice that a socket is closed, but that it is shut down.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the stream that is open."""
        response, self._response = self._response, None
        self._chunks = iter(())
        if response is not None:
            with contextlib.suppress(httpx.HTTPError, OSError):
                response.close()
