"""Validates the OpenAPI document of a running daemon, and tests the daemon against it with schemathesis.

    PYTHONPATH=target/python/openapi python3 tests/openapi/check.py

The real binary runs with authentication, in three runs: with a valid token, without one, and with a wrong one. A fourth
run is against a daemon without authentication.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import openapi_spec_validator

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PROGRAM = os.environ.get("TIDINGS_BIN", ROOT / "target/debug/tidings")

ISSUER, AUDIENCE = "https://issuer.test/", "https://bus.test"
GRANTS = {"publish": ["*"], "subscribe": ["*"], "admin": ["nodes", "metrics", "connections", "revoke", "flows"]}
EVENTS = [
    {"type": "order-status", "data": {"orderId": "o-1", "newStatus": "confirmed"}},
    {"type": "inventory-change", "data": {"productId": "1", "oldQuantity": 2, "newQuantity": 1, "reason": "sale"}},
]


def token(secret):
    """A token with all grants (RFC 7519, HS256)."""

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "tester", "iat": now, "exp": now + 3600, "tidings": GRANTS}
    parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(parts)
    return (signed + b"." + encoded(hmac.digest(secret, signed, hashlib.sha256))).decode()


def start(folder, *flags):
    """A daemon on a free port, and its URL."""
    command = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--log-format", "json", *flags]
    log = open(Path(folder) / "log", "w+")
    daemon = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stderr=log)
    while daemon.poll() is None:
        lines = (Path(folder) / "log").read_text().splitlines()
        for line in lines:
            if '"listening"' in line and line.endswith("}"):
                return daemon, json.loads(line)["url"]
        time.sleep(0.02)
    sys.exit(f"{PROGRAM} ended with {daemon.returncode}:\n{(Path(folder) / 'log').read_text()}")


def publish(url, credential):
    """Publishes a few events, so that there is something to read."""
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {credential}"} if credential else {})
    urllib.request.urlopen(urllib.request.Request(f"{url}/v1/events", json.dumps(EVENTS).encode(), headers)).close()


def schemathesis(url, folder, name, credential, refused):
    """Runs schemathesis with this credential; returns whether it found nothing."""
    print(f"\n== schemathesis {name}", flush=True)
    # In this folder schemathesis leaves what it keeps.
    config = Path(folder) / "schemathesis.toml"
    text = (HERE / "schemathesis.toml").read_text()
    if credential is not None:
        text += '\n[auth.openapi.bearer]\nbearer = "${TIDINGS_TEST_TOKEN}"\n'
    config.write_text(text)
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TIDINGS_TEST_TOKEN": credential or "",
        "TIDINGS_TEST_REFUSED": "1" if refused else "0",
    }
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run", f"{url}/openapi.json", "--workers", "2"]
    began = time.monotonic()
    ended = subprocess.run([*command, *sys.argv[1:]], cwd=folder, env=environment)
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return ended.returncode == 0


def main():
    secret = secrets.token_bytes(32)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "secret").write_bytes(secret)
        (Path(folder) / "auth.toml").write_text(
            f'[[issuer]]\niss = "{ISSUER}"\naudience = ["{AUDIENCE}"]\nsecret_file = "{folder}/secret"\n'
            'algorithms = ["HS256"]\ngrants = "/tidings"\n'
        )
        daemon, url = start(folder, "--auth", "auth.toml")
        try:
            publish(url, token(secret))
            with urllib.request.urlopen(f"{url}/openapi.json") as response:
                document = json.load(response)
            openapi_spec_validator.validate(document)
            print(f"the document is OpenAPI {document['openapi']} with {len(document['paths'])} paths")
            runs = [
                ("with a valid token", token(secret), False),
                ("without a token", None, True),
                ("with a wrong token", token(secrets.token_bytes(32)), True),
            ]
            results += [schemathesis(url, folder, name, credential, refused) for name, credential, refused in runs]
        finally:
            daemon.terminate()
            daemon.wait()
    with tempfile.TemporaryDirectory() as folder:
        daemon, url = start(folder)
        try:
            publish(url, None)
            results.append(schemathesis(url, folder, "without authentication", None, False))
        finally:
            daemon.terminate()
            daemon.wait()
    print(f"\n{results.count(True)} passed, {results.count(False)} failed")
    sys.exit(results.count(False))


main()
