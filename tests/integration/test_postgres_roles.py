"""The shipped roles of a database: the owner migrates, the catalogue works without owning anything, the scaler only counts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from fixtures_services import run_catalogue, settings_for
from fixtures_workflow import post, scenes

from common.errors import ConfigurationError
from thresher.embedded.postgres import PostgresServer
from thresher.embedded.process import running

ROLES = Path(__file__).resolve().parents[2] / "deploy" / "postgres" / "roles.sql"


@dataclass(frozen=True)
class Database:
    """Of a server of its own: roles are for a whole server."""

    address: str

    def url(self, role: str) -> str:
        return f"postgresql://{role}:{password(role)}@{self.address}"


def password(role: str) -> str:
    return f"{role}-of-the-test"


@pytest.fixture
def database() -> Iterator[Database]:
    # Run by root, PostgreSQL runs as somebody else, who has to get there.
    folder = Path(tempfile.mkdtemp(prefix="thresher-roles-"))
    folder.chmod(0o711)
    trusting = folder / "pg_hba.conf"
    trusting.write_text("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    trusting.chmod(0o644)
    server = PostgresServer(folder, settings={"hba_file": str(trusting)}, shelters=[folder])
    try:
        with running(server, folder / "postgres.log"):
            administrator = f"postgresql://postgres@127.0.0.1:{server.endpoint.port}"
            program = server.home.programs / "psql"
            psql(program, administrator + "/postgres", "-c", "CREATE DATABASE deployment")
            words = ("owner", "service", "scaler")
            psql(
                program,
                administrator + "/deployment",
                *(word for name in words for word in ("-v", f"{name}_password={password(f'thresher_{name}')}")),
                "-f",
                str(ROLES),
            )
            yield Database(f"127.0.0.1:{server.endpoint.port}/deployment?sslmode=disable")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def psql(program: Path, url: str, *arguments: str) -> None:
    done = subprocess.run([program, url, "-v", "ON_ERROR_STOP=1", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def migrate(url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "THRESHER_DATABASE_URL": url}
    command = [sys.executable, "-P", "-m", "catalogue.migrate"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


async def backlog(database: Database) -> list[int]:
    scaler = await asyncpg.connect(database.url("thresher_scaler"))
    try:
        return [await scaler.fetchval(f"SELECT thresher.backlog('{kind}', 'python')") for kind in ("scene", "tile")]
    finally:
        await scaler.close()


async def test_each_role_does_its_work_and_nothing_else(database: Database, clean_nats_url: str, tmp_path: Path) -> None:
    service = settings_for(database.url("thresher_service"), clean_nats_url, tmp_path)
    assert await backlog(database) == [0, 0], "asked before there are tables"
    with pytest.raises(ConfigurationError, match=r"may not migrate.*catalogue\.migrate"):
        async with run_catalogue(service):
            pass
    done = migrate(database.url("thresher_owner"))
    assert done.returncode == 0, done.stderr
    assert migrate(database.url("thresher_owner")).returncode == 0, "a second time"

    async with run_catalogue(service) as catalogue:
        await post(catalogue, scenes(3))
        assert await backlog(database) == [3, 0]
        async with catalogue.http.delete(f"{catalogue.url}/aoi/w") as response:
            assert response.status == 204
        assert await backlog(database) == [0, 0]
        for statement in ("CREATE TABLE mine (a int)", "DROP TABLE tile", "ALTER TABLE tile ADD COLUMN a int", "TRUNCATE tile"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await catalogue.database.execute(statement)

    scaler = await asyncpg.connect(database.url("thresher_scaler"))
    try:
        for statement in ("SELECT * FROM job", "SELECT * FROM scene", "INSERT INTO aoi (name) VALUES ('x')", "CREATE TABLE mine (a int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await scaler.execute(statement)
    finally:
        await scaler.close()


def test_migrating_without_the_right_says_so(database: Database) -> None:
    done = migrate(database.url("thresher_scaler"))
    assert done.returncode == 78
    assert "may not migrate" in done.stderr
    assert "Traceback" not in done.stderr
