"""Where compiled code is kept: never where others could change it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from processor.sar.compiled import cache_folder


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def test_below_the_cache_of_the_user(tmp_path: Path) -> None:
    folder = cache_folder()
    assert folder == tmp_path / "cache" / "thresher" / "numba"
    assert stat.S_IMODE(folder.stat().st_mode) & 0o022 == 0
    assert cache_folder() == folder


def test_where_the_operator_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert cache_folder() == tmp_path / "temporary" / f"thresher-numba-{os.getuid()}"


def test_a_folder_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    """Nor a link that somebody else may have put there: a new folder of our own."""
    (tmp_path / "cache").write_text("a file")
    taken = tmp_path / "temporary" / f"thresher-numba-{os.getuid()}"
    taken.mkdir()
    taken.chmod(0o777)
    assert cache_folder() != taken
    taken.rmdir()
    (tmp_path / "elsewhere").mkdir()
    taken.symlink_to(tmp_path / "elsewhere")
    assert cache_folder() != taken
