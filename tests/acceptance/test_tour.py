"""The tour of the README, run as it is written: every shell block in its order, against the stack it starts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from thresher.demo.stack import remove_data
from thresher.embedded.endpoint import free_port

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = dict(re.findall(r"^<!-- tour: (\w+) -->\n```sh\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """What the tour needs of a checkout: payloads, and an environment that holds this program."""
    programs = tmp_path / "checkout" / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, options in (("thresher", "-P -m thresher.cli"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
        (programs / name).chmod(0o755)
    (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
    (tmp_path / "checkout" / "payloads").symlink_to(ROOT / "payloads")
    yield tmp_path / "checkout"
    for data in (tmp_path / "thresher-tour" / ".thresher", tmp_path / "thresher-tour" / "demo" / "stack"):
        remove_data(data)


def test_the_tour(checkout: Path) -> None:
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("THRESHER_")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "THRESHER_SERVER_PORT": str(port)}
    tour = checkout.parent / "thresher-tour"
    in_tour = {**environment, "PATH": f"{checkout / '.venv' / 'bin'}:{environment['PATH']}", "THRESHER_URL": f"http://127.0.0.1:{port}"}

    def run(name: str) -> str:
        # The example's port may be taken here.
        script = BLOCKS[name].replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        where, variables = (checkout, environment) if name == "prepare" else (tour, in_tour)
        done = subprocess.run(["sh", "-euc", script], cwd=where, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        return done.stdout

    run("prepare")
    up = ["sh", "-euc", f"exec {BLOCKS['up'].strip()}"]
    with subprocess.Popen(up, cwd=tour, env=in_tour, stdout=subprocess.PIPE, text=True) as stack:
        try:
            assert stack.stdout is not None
            assert stack.stdout.readline().strip() == f"ready http://127.0.0.1:{port}"
            assert json.loads(run("variables").partition("\n")[2])["instances"][0]["name"] == "l2a"
            assert "8 scenes" in run("scenes")
            assert "4 tiles" in run("review")
            assert (tour / "tiles.png").read_bytes().startswith(b"\x89PNG")
            assert "Ingestion of 4 scenes and 4 tiles in progress" in run("aoi")
            assert "4 scenes and 4 tiles in progress" in run("rest")
            (dataset,) = json.loads(run("datasets"))["datasets"]
            assert (dataset["aoi"], dataset["variable"], dataset["real_min"]) == ("Demo", "B04", pytest.approx(-0.1))
            assert Path(dataset["uri"]).stat().st_size == dataset["size"]
            stack.send_signal(signal.SIGINT)
            assert stack.wait(60) == 0
        finally:
            stack.kill()
