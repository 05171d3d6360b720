"""When to try again: backoff with full jitter, and the header `Retry-After`."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

#: The upper bound of the first delay, in seconds. It doubles with each failure in a row.
MIN_DELAY = 0.25
#: The upper bound of every delay, in seconds.
MAX_DELAY = 30.0


def backoff(failures: int) -> float:
    """A random delay in seconds after this many failures before this one, up to a bound that doubles each time.

    The jitter spreads out clients that lost the same daemon.
    """
    return random.uniform(0, min(MAX_DELAY, MIN_DELAY * 2 ** min(failures, 16)))


def retry_after(header: str | None) -> float | None:
    """The seconds of a `Retry-After` header, which has a number of seconds or a date (RFC 9110, section 10.2.3)."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
