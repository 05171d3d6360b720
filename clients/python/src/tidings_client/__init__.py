"""The Python client of the tidings event bus.

`AsyncTidings` is for asyncio, `Tidings` for threads. `tidings_client.types` has the classes of the built-in event
types, and
`python -m tidings_client.codegen` writes those of your own.
"""

from ._async_client import AsyncTidings
from ._client import Tidings
from ._core import Since, Where
from ._errors import (
    AuthenticationError,
    ConnectionFailedError,
    DataError,
    ForbiddenError,
    InvalidError,
    Mistake,
    ProblemError,
    RateLimitedError,
    TidingsError,
    TokenError,
    UnavailableError,
    UnexpectedResponseError,
)
from ._event import Accepted, Channel, Event, Gap, Page
from ._model import EventData, Model
from ._publish import NewEvent, Publishable
from ._subscription import AsyncSubscription, Subscription
from ._token import AsyncToken, Token
from .types import CacheInvalidate, DataUpdate, FinanceChange, InventoryChange, OrderStatusChange

__all__ = [
    "Accepted",
    "AsyncSubscription",
    "AsyncTidings",
    "AsyncToken",
    "AuthenticationError",
    "CacheInvalidate",
    "Channel",
    "ConnectionFailedError",
    "DataError",
    "DataUpdate",
    "Event",
    "EventData",
    "FinanceChange",
    "ForbiddenError",
    "Gap",
    "InvalidError",
    "InventoryChange",
    "Mistake",
    "Model",
    "NewEvent",
    "OrderStatusChange",
    "Page",
    "ProblemError",
    "Publishable",
    "RateLimitedError",
    "Since",
    "Subscription",
    "Tidings",
    "TidingsError",
    "Token",
    "TokenError",
    "UnavailableError",
    "UnexpectedResponseError",
    "Where",
]
