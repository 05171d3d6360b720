"""Follows an event stream with a Python client, as its documentation shows, and prints each message as a line of JSON.

Usage: follow.py CLIENT URL. The client is the name of its package.
"""

import json
import sys
import time

client, url = sys.argv[1:]


def report(event, data, id):
    print(json.dumps({"event": event, "data": data, "id": id}), flush=True)


def again(stream, lost):
    """Follows a stream again after its end, from the last id, for the clients that leave this to the program."""
    last, wait = "", 1.0
    while True:
        try:
            for message in stream({"Last-Event-ID": last} if last else {}):
                last = message.id or last
                wait = int(message.retry) / 1000 if message.retry else wait
                report(message.event, message.data, message.id)
        except lost:
            pass
        time.sleep(wait)


if client == "sseclient":
    import requests
    from sseclient import SSEClient

    # It prints the reason of a lost connection.
    out, sys.stdout = sys.stdout, sys.stderr
    last = None
    while True:
        try:
            for message in SSEClient(url, last_id=last):
                last = message.id or last
                print(json.dumps({"event": message.event, "data": message.data, "id": message.id}), file=out, flush=True)
        except OSError:
            # It reconnects after the end of a stream, but not after a reset or a refused connection.
            time.sleep(1)
elif client == "sseclient-py":
    import requests
    from sseclient import SSEClient

    def stream(headers):
        with requests.get(url, stream=True, headers={"Accept": "text/event-stream", **headers}) as response:
            yield from SSEClient(response).events()

    again(stream, requests.RequestException)
elif client == "httpx-sse":
    import httpx
    from httpx_sse import connect_sse

    def stream(headers):
        with httpx.Client(timeout=30) as http, connect_sse(http, "GET", url, headers=headers) as source:
            yield from source.iter_sse()

    again(stream, httpx.TransportError)
