"""When to try again: backoff with full jitter, and the header `Retry-After`."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

#: The upper bound of the first delay, in seconds. It doubles with each failure in a row.
MIN_DELAY = 0.25
#: The upper bound of every delay, in seconds.
MAX_DELAY = 30.0
#: The longest pause that a daemon, or a proxy before it, may ask for, in seconds. A clock cannot count the longest.
MAX_PAUSE = 24 * 3600.0


def backoff(failures: int) -> float:
    """A random delay in seconds after this many failures before this one, up to a bound that doubles each time.

    The jitter spreads out clients that lost the same daemon.
    """
    return random.uniform(0, min(MAX_DELAY, MIN_DELAY * 2 ** min(failures, 16)))


def retry_after(header: str | None) -> float | None:
    """The seconds of a `Retry-After` header, at most `MAX_PAUSE`.

    It has a number of seconds or a date (RFC 9110, section 10.2.3).
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_PAUSE)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time.time()), MAX_PAUSE)
    except ValueError:
        return None
