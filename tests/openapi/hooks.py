"""What schemathesis cannot know of tidings: how long a long-poll waits, and what must be refused in which run."""

import itertools
import os

import schemathesis
from hypothesis.internal import lambda_sources
from requests.adapters import HTTPAdapter
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.adapter.security import declares_security, has_effective_optional_auth

# Nobody's credential is accepted in this run.
REFUSED = os.environ.get("TIDINGS_TEST_REFUSED") == "1"
# What precedes authentication: the method, and the head of the request.
BEFORE = {400, 405, 431}
# Counts requests that could be in binary mode.
BINARY = itertools.count()


# It describes strategies by their source, which Python 3.11 cannot always parse in a thread. Only messages have that.
lambda_sources.lambda_description = lambda function: "lambda: <unknown>"


send = HTTPAdapter.send


def send_once(adapter, *arguments, **options):
    """After a 101 the connection is a WebSocket: no further request may use it."""
    response = send(adapter, *arguments, **options)
    if response.status_code == 101:
        response.raw.close()
    return response


HTTPAdapter.send = send_once


@schemathesis.hook
def before_call(context, case, kwargs):
    """Sends a request as it was generated, but for what would make most of them alike."""
    wait = (case.query or {}).get("wait")
    if isinstance(wait, int) and 1 < wait <= 30:
        # A long-poll of half a minute shows no more than one of a second.
        case.query["wait"] = 1
    if not case.headers or case.meta is not None and case.meta.is_negative_at(ParameterLocation.HEADER):
        return
    if case.headers.get("Content-Encoding") in ("gzip", "deflate", "zstd"):
        # The body is not compressed.
        del case.headers["Content-Encoding"]
    if any(name.startswith("ce-") for name in case.headers) and next(BINARY) % 4:
        # With one of them the whole body is `data`.
        for name in [name for name in case.headers if name.startswith("ce-")]:
            del case.headers[name]


@schemathesis.check
def refused_without_a_valid_credential(ctx, response, case):
    """Where a credential is needed and none is valid, everything is answered with the same 401."""
    operation = case.operation
    if not REFUSED or not declares_security(operation) or case.method.upper() == "OPTIONS":
        return
    if has_effective_optional_auth(operation, operation.schema.raw_schema) or response.status_code in BEFORE:
        return
    assert response.status_code == 401, f"{response.status_code} instead of 401"
    assert response.headers["www-authenticate"][0].startswith("Bearer"), "how to authenticate"
