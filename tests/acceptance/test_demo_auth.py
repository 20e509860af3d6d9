"""`thresher up --demo-auth` as a person meets it: a name and a password are printed, and nothing answers without a token they buy."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


class Up:
    """A running stack, its URL and what it said."""

    def __init__(self, data_dir: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("THRESHER_")}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "thresher.cli", "up", "--demo-auth", "--port", "0", "--data-dir", str(data_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=data_dir.parent,
            env={**environment, "PYTHONPATH": str(REPOSITORY)},
        )
        self.said: list[str] = []
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        self._listener = threading.Thread(target=self.said.extend, args=(self.process.stderr,))
        self._listener.start()
        line = self.process.stdout.readline()
        assert line.startswith("ready "), "".join(self.said)
        self.url = line.split()[1]

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        self._listener.join()
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        self.process.stderr.close()
        self.process.stdout.close()

    @property
    def login(self) -> tuple[str, str]:
        match = re.search(r"log in as user (\S+) with password (\S+)", "".join(self.said))
        assert match is not None
        return match[1], match[2]

    def ask(self, path: str, *, token: str = "", form: dict[str, str] | None = None) -> tuple[int, str]:
        request = urllib.request.Request(self.url + path, data=urllib.parse.urlencode(form).encode() if form else None)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """In a folder every user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="thresher-demo-auth-"))
    folder.chmod(0o755)
    yield folder / "data"
    pointer = folder / "data" / "postgres.location"
    if pointer.exists():
        shutil.rmtree(pointer.read_text().strip())
    shutil.rmtree(folder, ignore_errors=True)


def test_the_printed_password_buys_a_token_and_nothing_answers_without(data_dir: Path) -> None:
    stack = Up(data_dir)
    try:
        user, password = stack.login
        # As the notebooks log in, whatever realm they name.
        form = {"username": user, "password": password, "client_id": "ordering", "grant_type": "password"}
        path = "/auth/realms/dedl/protocol/openid-connect/token"
        status, answer = stack.ask(path, form=form)
        assert status == 200, answer
        token = json.loads(answer)["access_token"]
        assert stack.ask(path, form={**form, "password": password + "x"})[0] == 401
        for asked in ("/odata/v1/Workflows", "/aoi/", "/metrics"):
            assert stack.ask(asked)[0] == 401, asked
            assert stack.ask(asked, token=token)[0] == 200, asked
        assert stack.ask("/healthz")[0] == 200
    finally:
        stack.end()
    for file in ("secrets.keys", "auth/user.json", "auth/key.pem"):
        assert (data_dir / file).stat().st_mode & 0o777 == 0o600, file
    assert (data_dir / "auth").stat().st_mode & 0o777 == 0o700
    logs = "".join(log.read_text(errors="replace") for log in (data_dir / "logs").iterdir())
    key = (data_dir / "secrets.keys").read_text().strip()
    assert not [secret for secret in (password, token, key) if secret in logs]
    # User and key stay: what was bought before is good after a restart.
    stack = Up(data_dir)
    try:
        assert stack.login == (user, password)
        assert stack.ask("/odata/v1/Workflows", token=token)[0] == 200
    finally:
        stack.end()
    assert (data_dir / "secrets.keys").read_text().strip() == key
