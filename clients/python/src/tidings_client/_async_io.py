"""How the steps of a flow are performed on an event loop of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import httpx

from ._flow import Close, Flow, GetToken, Read, Send, Sleep, Step
from ._io import build
from ._token import AsyncCredential

T = TypeVar("T")


async def drive(flow: Flow[T], perform: Callable[[Step], Awaitable[Any]]) -> T:
    """Runs a flow to its end."""
    try:
        step = next(flow)
        while True:
            try:
                result = await perform(step)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


class AsyncIO:
    """Performs the steps of one flow."""

    def __init__(self, client: httpx.AsyncClient, credential: AsyncCredential | None) -> None:
        self._client = client
        self._credential = credential
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a stream is open."""
        return self._response is not None

    async def perform(self, step: Step) -> Any:
        """Performs a step, and returns its result."""
        if isinstance(step, Read):
            return None if self._chunks is None else await anext(self._chunks, None)
        if isinstance(step, Send):
            return await self._send(step)
        if isinstance(step, GetToken):
            return None if self._credential is None else await self._credential.get()
        if isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Close):
            await self.close()
        return None

    async def _send(self, step: Send) -> httpx.Response:
        await self.close()
        response = await self._client.send(build(self._client, step), stream=True, follow_redirects=False)
        if step.stream and response.status_code == 200:
            self._response = response
            self._chunks = response.aiter_bytes()
            return response
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    async def close(self) -> None:
        """Closes the stream that is open."""
        response, self._response = self._response, None
        self._chunks = None
        if response is not None:
            with contextlib.suppress(httpx.HTTPError, OSError):
                await response.aclose()
