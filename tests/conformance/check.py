"""Runs the conformance suite Autobahn|Testsuite, unmodified, against the daemon's WebSocket code.

    python3 tests/conformance/check.py [CASE...]        cases such as '6.*'; all without

The suite knows no protocol but an echo. So it talks to echo.rs, which has the daemon's handshake, reader, encoder, compression
and send buffer, and sends each message back. Cases of binary messages are left out: the protocol has none, and the daemon
closes with 1003. The suite needs Python 2.7: python2.7 of the PATH, or PYTHON2=PROGRAM.
"""

import collections
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SUITE = ROOT / "target/python/autobahn"
OUT = ROOT / "target/conformance"
ECHO = ROOT / "target/debug/examples/conformance-echo"

# The cases that send binary messages.
BINARY = ["1.2.*", "9.2.*", "9.4.*", "9.6.*", "9.8.*", "12.2.*", "12.3.*", "12.5.*"]

# The suite's packages are found by their .pth files too.
RUN = """
import site, sys
folder = sys.argv.pop(1)
site.addsitedir(folder)
sys.path.insert(0, folder)
from autobahntestsuite.wstest import run
run()
"""

# The cases that offer compression only with a window of 512 bytes, which the daemon declines (RFC 7692, section 7.1.2.1). The
# suite calls them unimplemented then, which is what they must be.
DECLINED = ("13.3.", "13.5.")

# How a case can end. The suite calls a case informational that has no right answer.
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


def python2():
    """An interpreter for Python 2.7."""
    installed = sorted(Path.home().glob(".pyenv/versions/2.7.*/bin/python2.7"))
    for program in [os.environ.get("PYTHON2"), "python2.7", *installed]:
        if program and shutil.which(program):
            asked = subprocess.run([program, "-c", "import sys; print(sys.version_info[:2] == (2, 7))"], capture_output=True)
            if asked.stdout.strip() == b"True":
                return program
    sys.exit("conformance: Autobahn|Testsuite needs Python 2.7: install it, and name it with PYTHON2=PROGRAM")


def install(python):
    """Installs the suite into target/, if it is not there."""
    done, packages = SUITE / ".installed", HERE / "autobahn.txt"
    if done.exists() and done.stat().st_mtime > packages.stat().st_mtime:
        return
    print(f"conformance: installs the packages of {packages.relative_to(ROOT)} into {SUITE.relative_to(ROOT)}", flush=True)
    shutil.rmtree(SUITE, ignore_errors=True)
    pip = [python, "-W", "ignore", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", SUITE, "--requirement", packages], check=True)
    done.touch()


def main():
    python = python2()
    install(python)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    echo = subprocess.Popen([ECHO], stdout=subprocess.PIPE, text=True)
    try:
        address = echo.stdout.readline().strip()
        spec = {
            "outdir": str(OUT),
            "servers": [{"agent": "tidings", "url": f"ws://{address}"}],
            "cases": sys.argv[1:] or ["*"],
            "exclude-cases": BINARY,
            "exclude-agent-cases": {},
        }
        (OUT / "spec.json").write_text(json.dumps(spec))
        with open(OUT / "log", "w") as log:
            command = [python, "-c", RUN, SUITE, "-m", "fuzzingclient", "-s", OUT / "spec.json"]
            subprocess.run(command, cwd=OUT, stdout=log, stderr=subprocess.STDOUT, check=True)
    finally:
        echo.terminate()
        echo.wait()
    cases = json.loads((OUT / "index.json").read_text())["tidings"]
    good = lambda name: {"OK", "UNIMPLEMENTED"} if name.startswith(DECLINED) else GOOD
    bad = {name: case for name, case in cases.items() if not {case["behavior"], case["behaviorClose"]} <= good(name)}
    for name, case in sorted(bad.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
        print(f"  {name}: {case['behavior']}, close {case['behaviorClose']} ({case['remoteCloseCode']})")
    counts = collections.Counter(case["behavior"] for case in cases.values())
    print(", ".join(f"{count} {behavior}" for behavior, count in sorted(counts.items())))
    print(f"The reports are in {OUT.relative_to(ROOT)}/index.html")
    print(f"{len(cases) - len(bad)} passed, {len(bad)} failed")
    sys.exit(bool(bad))


main()
