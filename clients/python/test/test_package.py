"""The wheel and the source distribution: built, installed where nothing else is, and used."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from daemon import Daemon

HERE = Path(__file__).parents[1]

PROGRAM = """
import sys
import tidings_client
from importlib.metadata import requires, version
from tidings_client import InventoryChange, Tidings

assert "site-packages" in tidings_client.__file__, tidings_client.__file__
assert version("tidings-client") == "0.1.0"
with Tidings(sys.argv[1]) as bus, bus.subscribe(InventoryChange) as events:
    accepted = bus.publish(InventoryChange(productId="1", oldQuantity=1, newQuantity=0, reason="sale"))
    print(next(events).id == accepted.id)
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    # What the build needs is what the tests run with: nothing is fetched.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(HERE)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if "clients/python" not in path),
    }
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return folder


def test_the_archives_have_what_belongs_there(dist: Path) -> None:
    [wheel] = dist.glob("*.whl")
    assert wheel.name == "tidings_client-0.1.0-py3-none-any.whl"
    modules = {f"tidings_client/{path.name}" for path in (HERE / "src/tidings_client").iterdir() if path.is_file()}
    assert "tidings_client/py.typed" in modules
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = {f"tidings_client-0.1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")}
    licenses = {f"tidings_client-0.1.0.dist-info/licenses/LICENSE-{name}" for name in ("MIT", "APACHE")}
    assert names == modules | about | licenses
    [source] = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        members = {name.split("/", 1)[1] for name in archive.getnames()}
    others = {"LICENSE-MIT", "LICENSE-APACHE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert members - {f"src/{name}" for name in modules} <= others
    assert {f"src/{name}" for name in modules} <= members


def test_it_works_in_an_empty_environment(dist: Path, tmp_path: Path, shared: Daemon) -> None:
    """It declares all that it needs. This fetches httpx and pydantic, unless pip has them."""
    [wheel] = dist.glob("*.whl")
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin/python"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    subprocess.run(install, check=True, env=environment)
    command = [str(python), "-W", "error", "-c", PROGRAM, shared.url]
    assert subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout == "True\n"
