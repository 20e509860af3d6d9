"""Archives of others: what is hostile is refused, what is broken is told, and neither leaves anything behind."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from common.archives import ArchiveLimits, is_archive, pack, unpack
from common.errors import FatalError, StorageError
from common.threads import Stop, StoppedError


def _zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _nothing_but(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def _special(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


def _tar_special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


HOSTILE_NAMES = [
    "../evil",
    "a/../../evil",
    "/etc/evil",
    "//evil",
    "C:\\evil",
    "C:evil",
    "c:/evil",
    "a\\..\\evil",
    "..",
    "a/..",
    "\\\\host\\x",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    archive = _zip(tmp_path / "a.zip", ("fine", b"x"), (name, b"x"))
    with pytest.raises(FatalError, match=r"a\.zip is refused"):
        unpack(archive, tmp_path / "target")
    packed = _tar(tmp_path / "a.tar", (tarfile.TarInfo("fine"), b"x"), (tarfile.TarInfo(name), b"x"))
    with pytest.raises(FatalError, match=r"a\.tar is refused"):
        unpack(packed, tmp_path / "target")
    _nothing_but(tmp_path, "a.zip", "a.tar")


def test_a_name_cut_at_a_nul_is_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", ("fineXevil", b"x"))
    archive.write_bytes(archive.read_bytes().replace(b"fineXevil", b"fine\0evil"))
    with pytest.raises(FatalError):
        unpack(archive, tmp_path / "target")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_zip_holds_files_and_folders_only(tmp_path: Path, kind: int) -> None:
    archive = _zip(tmp_path / "a.zip", (_special("link", kind), b"/etc"), ("link/passwd", b"x"))
    with pytest.raises(FatalError, match="neither a file nor a folder"):
        unpack(archive, tmp_path / "target")
    _nothing_but(tmp_path, "a.zip")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_tar_holds_files_and_folders_only(tmp_path: Path, kind: bytes) -> None:
    archive = _tar(tmp_path / "a.tar", (_tar_special("link", kind, "/etc"), b""), (tarfile.TarInfo("link/passwd"), b"x"))
    with pytest.raises(FatalError, match="neither a file nor a folder"):
        unpack(archive, tmp_path / "target")
    _nothing_but(tmp_path, "a.tar")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/", "a"), ("./a", "a")])
def test_a_name_is_one_thing_once(tmp_path: Path, names: tuple[str, str]) -> None:
    archive = tmp_path / "a.tar"
    members = []
    for name in names:
        info = tarfile.TarInfo(name)
        if name.endswith("/"):
            info.type = tarfile.DIRTYPE
        members.append((info, b"" if name.endswith("/") else b"x"))
    _tar(archive, *members)
    with pytest.raises(FatalError, match=r"is there twice|below a file"):
        unpack(archive, tmp_path / "target")
    _nothing_but(tmp_path, "a.tar")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ArchiveLimits(total_bytes=10_000_000), "more than 10000000 bytes"),
        (ArchiveLimits(ratio=50, ratio_from_bytes=1000), "more than 50 times"),
        (ArchiveLimits(members=1), "more than 1 members"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_refused(tmp_path: Path, limits: ArchiveLimits, message: str, kind: str) -> None:
    bomb = bytes(20_000_000)
    if kind == "zip":
        archive = _zip(tmp_path / "a.zip", ("zeros", bomb), ("more", b"x"))
    else:
        archive = _tar(tmp_path / "a.tar.gz", (tarfile.TarInfo("more"), b"x"), (tarfile.TarInfo("zeros"), bomb), mode="w:gz")
    with pytest.raises(FatalError, match=message):
        unpack(archive, tmp_path / "target", limits=limits)
    _nothing_but(tmp_path, archive.name)


def test_a_zip_that_lies_about_its_sizes_writes_no_more_than_it_says(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", ("zeros", bytes(1_000_000)))
    content = bytearray(archive.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    content[central + 24 : central + 28] = (1000).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(StorageError, match="broken"):
        unpack(archive, tmp_path / "target")
    _nothing_but(tmp_path, "a.zip")


def test_an_encrypted_zip_is_told(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", ("secret", b"x" * 100))
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    central = content.rindex(b"PK\x01\x02")
    content[central + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(FatalError, match="encrypted"):
        unpack(archive, tmp_path / "target")


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.95, 0.999])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_an_archive_cut_short_is_told(tmp_path: Path, kind: str, kept: float) -> None:
    noise = bytes((index * index * 7 + index // 251) % 256 for index in range(40_000))
    members = [(f"folder/file{index}", noise[index:]) for index in range(4)]
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        _zip(archive, *members)
    else:
        _tar(archive, *((tarfile.TarInfo(name), content) for name, content in members), mode=f"w:{kind.partition('.')[2]}")
        if kind == "tar":  # without the padding after its end, which nobody misses
            archive.write_bytes(archive.read_bytes().rstrip(b"\0") + bytes(1024))
    unpack(archive, tmp_path / "whole")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * kept)] if kind != "tar" or kept < 0.95 else content[:-1024])
    with pytest.raises(StorageError):
        unpack(archive, tmp_path / "target")
    _nothing_but(tmp_path, archive.name, "whole")


def test_a_changed_bit_is_found(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a", b"0123456789" * 100)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[200] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(StorageError, match=r"broken.*CRC"):
        unpack(tmp_path / "a.zip", tmp_path / "target")
    _nothing_but(tmp_path, "a.zip")


@pytest.mark.parametrize("content", [b"", b"<html>please log in</html>", b"\x1f\x8b nonsense", b"PK\x05\x06", bytes(100)])
def test_what_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(StorageError):
        unpack(tmp_path / "a.zip", tmp_path / "target")
    _nothing_but(tmp_path, "a.zip")


@pytest.mark.parametrize(("suffix", "mode"), [("zip", ""), ("tar", "w"), ("tgz", "w:gz"), ("tar.xz", "w:xz")])
def test_honest_archives_come_out_whole(tmp_path: Path, suffix: str, mode: str) -> None:
    archive = tmp_path / f"a.{suffix}"
    if mode:
        folder = tarfile.TarInfo("./P.SAFE")
        folder.type = tarfile.DIRTYPE
        _tar(archive, (folder, b""), (tarfile.TarInfo("./P.SAFE/a.xml"), b"a"), (tarfile.TarInfo("P.SAFE/deep/b"), b"b"), mode=mode)
    else:
        _zip(archive, ("P.SAFE/", b""), ("P.SAFE/a.xml", b"a"), ("P.SAFE/deep/b", b"b"))
    assert is_archive(archive)
    unpack(archive, tmp_path / "target")
    assert (tmp_path / "target" / "P.SAFE" / "a.xml").read_bytes() == b"a"
    assert (tmp_path / "target" / "P.SAFE" / "deep" / "b").read_bytes() == b"b"


def test_packing_keeps_imagery_as_it_is_and_leaves_links_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "image.JP2").write_bytes(bytes(10_000))
    (root / "a" / "text.xml").write_bytes(bytes(10_000))
    (root / "a" / "link").symlink_to("/etc/passwd")
    (root / "loop").symlink_to(root)
    pack(root, ["loop", "a"], tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert [(info.filename, info.compress_type) for info in archive.infolist()] == [
            ("a/", zipfile.ZIP_STORED),
            ("a/image.JP2", zipfile.ZIP_STORED),
            ("a/text.xml", zipfile.ZIP_DEFLATED),
        ]


@pytest.mark.parametrize("work", ["pack", "unpack"])
def test_stopping_leaves_nothing(tmp_path: Path, work: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_bytes(bytes(100))
    pack(tmp_path, ["root"], tmp_path / "a.zip")
    stop = Stop()
    stop.set()
    actions: dict[str, Callable[[], None]] = {
        "pack": lambda: pack(tmp_path, ["root"], tmp_path / "b.zip", stop),
        "unpack": lambda: unpack(tmp_path / "a.zip", tmp_path / "target", stop=stop),
    }
    with pytest.raises(StoppedError):
        actions[work]()
    _nothing_but(tmp_path, "root", "a.zip")
