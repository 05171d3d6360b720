"""What schemathesis cannot know of tidings: how long a long-poll waits, and what must be refused in which run."""

import os

import schemathesis
from schemathesis.specs.openapi.adapter.security import declares_security, has_effective_optional_auth

# Nobody's credential is accepted in this run.
REFUSED = os.environ.get("TIDINGS_TEST_REFUSED") == "1"
# What precedes authentication: the method, and the head of the request.
BEFORE = {400, 405, 431}


@schemathesis.hook
def map_query(context, query):
    """A long-poll of half a minute shows no more than one of a second."""
    if query and isinstance(query.get("wait"), int) and 1 < query["wait"] <= 30:
        query["wait"] = 1
    return query


@schemathesis.hook
def map_headers(context, headers):
    """`ce-` headers make an event of the whole body, and a coding makes it unreadable: in most requests neither is there."""
    if headers and "Content-Encoding" in headers:
        headers = {name: value for name, value in headers.items() if name != "Content-Encoding"}
    if headers and len(headers.get("ce-type", "")) % 4 != 1:
        headers = {name: value for name, value in headers.items() if not name.startswith("ce-")}
    return headers


@schemathesis.check
def refused_without_a_valid_credential(ctx, response, case):
    """Where a credential is needed and none is valid, everything is answered with the same 401."""
    operation = case.operation
    if not REFUSED or not declares_security(operation):
        return
    if has_effective_optional_auth(operation, operation.schema.raw_schema) or response.status_code in BEFORE:
        return
    assert response.status_code == 401, f"{response.status_code} instead of 401"
    assert response.headers["www-authenticate"][0].startswith("Bearer"), "how to authenticate"
