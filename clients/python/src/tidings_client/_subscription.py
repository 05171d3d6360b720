"""Subscriptions: iterators over the events of channels."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Generic

from typing_extensions import Self

from ._async_io import AsyncIO
from ._event import D_co, Event, Gap
from ._flow import Emit, Fail, Flow, Ready, Step
from ._io import SyncIO
from ._stream import Following


class _Subscription:
    """What both kinds have in common: a flow, and the step that it waits for."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._flow: Flow[None] = following.flow()
        #: The step to perform next. A step whose wait was cancelled is performed again.
        self._step: Step | None = None
        self._is_closed = False
        self._is_running = False

    @property
    def cursor(self) -> str | None:
        """What a subscription resumes from after the item that was handed out last. `None` until it stands.

        It also moves while a filter keeps events back. Prefer `item.cursor` where items are processed at the same time.
        """
        return self._following.cursor

    def _advance(self, result: Any, error: Exception | None) -> Step | None:
        """Gives the flow the result of its step, and takes the next one. `None` if the flow has ended."""
        try:
            if self._step is None:
                self._step = next(self._flow)
            elif error is not None:
                self._step = self._flow.throw(error)
            else:
                self._step = self._flow.send(result)
        except StopIteration:
            self._step = None
            self._is_closed = True
        except BaseException:
            self._is_closed = True
            raise
        return self._step

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the subscription is closed: make a new one")

    def _begin(self) -> None:
        if self._is_running:
            raise RuntimeError("another thread or task waits for this subscription already: make one for each")
        self._is_running = True


class Subscription(_Subscription, Iterator["Event[D_co] | Gap"], Generic[D_co]):
    """The events of channels, for a `for` loop. It has no end of its own.

    ```python
    with bus.subscribe(OrderStatusChange) as events:
        for item in events:
            ...
    ```

    Entering it waits until it stands: what is published afterwards arrives. Without `with`, the first `next` does that,
    and the subscription ends when it is no longer referenced. One thread iterates at a time.
    """

    def __init__(self, following: Following, io: SyncIO) -> None:
        super().__init__(following)
        self._io = io

    def __enter__(self) -> Self:
        self._check_open()
        try:
            if not self._following.is_ready:
                self._until(Ready)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event[D_co] | Gap:
        step = self._until(Emit)
        if isinstance(step, Emit):
            return step.item
        raise StopIteration

    def _until(self, kind: type[Ready] | type[Emit]) -> Step | None:
        """Performs steps up to one of this kind. Returns `None` if the subscription was closed."""
        self._begin()
        try:
            while not self._is_closed:
                result = None
                error = None
                if self._step is not None:
                    try:
                        result = self._io.perform(self._step)
                    except Exception as cause:
                        error = cause
                if self._is_closed:
                    break
                step = self._advance(result, error)
                if isinstance(step, Fail):
                    raise step.error
                if isinstance(step, kind):
                    return step
            self._io.close()
            return None
        finally:
            self._is_running = False

    def close(self) -> None:
        """Ends the subscription. Another thread may call it: the loop then ends."""
        self._is_closed = True
        self._io.stop()
        if not self._is_running:
            self._flow.close()
            self._io.close()

    def __del__(self) -> None:
        if hasattr(self, "_io"):
            self.close()


class AsyncSubscription(_Subscription, AsyncIterator["Event[D_co] | Gap"], Generic[D_co]):
    """The events of channels, for an `async for` loop. It has no end of its own.

    ```python
    async with bus.subscribe(OrderStatusChange) as events:
        async for item in events:
            ...
    ```

    Entering it waits until it stands: what is published afterwards arrives. A loop that is cancelled, as by
    `asyncio.timeout`, loses neither an item nor the connection: the next one goes on. One task iterates at a time.
    """

    def __init__(self, following: Following, io: AsyncIO) -> None:
        super().__init__(following)
        self._io = io
        #: The step that is performed. It outlives the cancellation of who waits for it: otherwise a program that waits
        #: for short times again and again would never get through a connection or a pause.
        self._pending: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._check_open()
        try:
            if not self._following.is_ready:
                await self._until(Ready)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event[D_co] | Gap:
        step = await self._until(Emit)
        if isinstance(step, Emit):
            return step.item
        raise StopAsyncIteration

    async def _until(self, kind: type[Ready] | type[Emit]) -> Step | None:
        """Performs steps up to one of this kind. Returns `None` if the subscription was closed."""
        self._begin()
        self._loop = asyncio.get_running_loop()
        try:
            while not self._is_closed:
                result = None
                error = None
                if self._step is not None:
                    try:
                        result = await self._perform(self._step)
                    except Exception as cause:
                        error = cause
                if self._is_closed:
                    break
                step = self._advance(result, error)
                if isinstance(step, Fail):
                    raise step.error
                if isinstance(step, kind):
                    return step
            return None
        finally:
            self._is_running = False

    async def _perform(self, step: Step) -> Any:
        if isinstance(step, Emit | Fail | Ready):
            return None
        while True:
            if self._pending is None:
                self._pending = asyncio.ensure_future(self._io.perform(step))
            pending = self._pending
            await asyncio.wait({pending})
            self._pending = None
            if not pending.cancelled():
                return pending.result()
            if self._is_closed:
                return None
            # Somebody cancelled it who cancels all tasks that there are. A read of that connection then gives its end.

    async def aclose(self) -> None:
        """Ends the subscription. Another task may call it: the loop then ends."""
        self._is_closed = True
        pending = self._pending
        if pending is not None:
            pending.cancel()
            await asyncio.wait({pending})
            if not pending.cancelled():
                # Looks at its error, which asyncio would report otherwise.
                pending.exception()
        if not self._is_running:
            self._flow.close()
        await self._io.close()

    def __del__(self) -> None:
        io, pending = getattr(self, "_io", None), getattr(self, "_pending", None)
        if io is None or not (io.is_open or (pending is not None and not pending.done())):
            return
        warnings.warn(
            "a subscription was not closed: use `async with`, or `aclose()`", ResourceWarning, stacklevel=2, source=self
        )
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(_abandon, io, pending)


def _abandon(io: AsyncIO, pending: asyncio.Task[Any] | None) -> None:
    """Closes the connection of a subscription that is no longer referenced. Runs on its event loop."""

    async def close() -> None:
        if pending is not None:
            pending.cancel()
            await asyncio.wait({pending})
        await io.close()

    closing = asyncio.ensure_future(close())
    # The event loop itself has only a weak reference to a task.
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()
