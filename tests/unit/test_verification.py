"""Files that are broken, and how that is told."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from downloader.safe_manifest import read_manifest
from downloader.verification import CorruptError, check_file

pytestmark = pytest.mark.filterwarnings(f"ignore::{NotGeoreferencedWarning.__module__}.{NotGeoreferencedWarning.__name__}")

IMAGE = bytes(range(256)) * 400
PREVIEW = b"<html/>"


def _stream(path: str, content: bytes, *, size: int | None = None, name: str = "MD5", digest: str | None = None) -> str:
    size = len(content) if size is None else size
    digest = hashlib.md5(content).hexdigest() if digest is None else digest
    return (
        f'<dataObject ID="x"><byteStream mimeType="a/b" size="{size}"><fileLocation locatorType="URL" href="./{path}"/>'
        f'<checksum checksumName="{name}">{digest}</checksum></byteStream></dataObject>'
    )


def _manifest(*streams: str) -> bytes:
    head = '<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1"><dataObjectSection>'
    return f"{head}{''.join(streams)}</dataObjectSection></xfdu:XFDU>".encode()


GOOD = _manifest(_stream("measurement/a.bin", IMAGE), _stream("preview/b.html", PREVIEW))
SHA3 = _manifest(_stream("measurement/a.bin", IMAGE, name="SHA3-256", digest=hashlib.sha3_256(IMAGE).hexdigest().upper()))


def _zip(path: Path, manifest: bytes = GOOD, image: bytes | None = IMAGE) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("S1.SAFE/manifest.safe", manifest)
        if image is not None:
            archive.writestr("S1.SAFE/measurement/a.bin", image)
    return path


@pytest.mark.parametrize("manifest", [GOOD, SHA3, _manifest(_stream("measurement/a.bin", IMAGE, name="CRC99"))])
def test_a_good_product(tmp_path: Path, manifest: bytes) -> None:
    check_file(_zip(tmp_path / "good.zip", manifest), "good.zip", "https://host/good.zip")


WRONG = [
    (_manifest(_stream("measurement/a.bin", IMAGE + b"x")), IMAGE, r"a\.bin has 102400 bytes instead of the 102401"),
    (_manifest(_stream("measurement/a.bin", IMAGE, digest="0" * 32)), IMAGE, r"a\.bin has another md5"),
    (SHA3, bytes(len(IMAGE)), r"a\.bin has another sha3_256"),
    (GOOD, None, r"lists measurement/a\.bin, which is missing"),
    (b"<a>", IMAGE, "it is not XML"),
    (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', IMAGE, "declares a document type"),
    (b"<a>" * 100, IMAGE, "nested too deeply"),
]


@pytest.mark.parametrize(("manifest", "image", "message"), WRONG)
def test_a_product_that_is_not_as_its_manifest_says(tmp_path: Path, manifest: bytes, image: bytes | None, message: str) -> None:
    with pytest.raises(CorruptError, match=f"^https://host/x: .*{message}") as caught:
        check_file(_zip(tmp_path / "x.zip", manifest, image), "x.zip", "https://host/x")
    assert caught.value.may_be_the_way
    with pytest.raises(CorruptError) as caught:
        check_file(tmp_path / "x.zip", "x.zip", "https://host/x", proven=True)
    assert not caught.value.may_be_the_way


def _damaged(path: Path, change: Callable[[bytearray], object]) -> Path:
    content = bytearray(_zip(path).read_bytes())
    change(content)
    path.write_bytes(content)
    return path


def test_a_zip_whose_member_is_damaged_or_that_is_cut_short(tmp_path: Path) -> None:
    place = _zip(tmp_path / "x.zip").read_bytes().index(b"a.bin") + 40
    with pytest.raises(CorruptError, match=r"its member S1\.SAFE/measurement/a\.bin is broken"):
        check_file(_damaged(tmp_path / "x.zip", lambda content: content.__setitem__(place, content[place] ^ 0xFF)), "x.zip", "x")
    with pytest.raises(CorruptError, match="broken or cut short"):
        check_file(_damaged(tmp_path / "x.zip", lambda content: content.__delitem__(slice(len(content) // 2, None))), "x.zip", "x")
    (tmp_path / "x.zip").write_bytes(b"not a zip")
    with pytest.raises(CorruptError, match="broken or cut short"):
        check_file(tmp_path / "x.zip", "x.zip", "x")
    check_file(tmp_path / "x.zip", "x.unknown", "x")


def test_a_web_page_instead_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\n <!DOCTYPE HTML><html>Log in</html>")
    for name in ("a.zip", "a.TIF", "a.nc", "a.jp2"):
        with pytest.raises(CorruptError, match="holds a web page instead of a file") as caught:
            check_file(tmp_path / "x", name, "https://host/a")
        assert not caught.value.may_be_the_way
    check_file(tmp_path / "x", "a.html", "https://host/a")
    check_file(tmp_path / "x", "a", "https://host/a")


@pytest.mark.parametrize(
    ("driver", "suffix", "options"), [("GTiff", ".tif", {"compress": "deflate", "tiled": True}), ("JP2OpenJPEG", ".jp2", {})]
)
def test_rasters_open_and_reach_to_their_end(tmp_path: Path, driver: str, suffix: str, options: dict[str, object]) -> None:
    path = tmp_path / f"image{suffix}"
    options = {"compress": "deflate", "tiled": True} if driver == "GTiff" else {}
    values = np.random.default_rng(1).integers(0, 60000, (2, 700, 800), dtype=np.uint16)
    with rasterio.open(path, "w", driver=driver, width=800, height=700, count=2, dtype="uint16", **options) as raster:
        raster.write(values)
    whole = path.read_bytes()
    check_file(path, path.name, "x")
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(CorruptError, match=f"cannot be read as {suffix[1:]}"):
        check_file(path, path.name, "x")
    path.write_bytes(b"\0" * 1000)
    with pytest.raises(CorruptError, match="cannot be read as") as caught:
        check_file(path, path.name, "x")
    assert str(tmp_path) not in str(caught.value)


def test_a_raster_cannot_name_other_files(tmp_path: Path) -> None:
    """Whatever it holds, it is read as what its name says."""
    path = tmp_path / "image.tif"
    path.write_text('<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>')
    with pytest.raises(CorruptError, match="cannot be read as tif"):
        check_file(path, path.name, "x")


def test_a_manifest_cannot_name_files_elsewhere() -> None:
    streams = [_stream("x", b""), *(_stream("x", b"").replace("./x", href) for href in ("/etc/passwd", "../../x", "https://host/x"))]
    assert [member.path for member in read_manifest(_manifest(*streams))] == ["x"]


def test_real_manifests_name_real_members(shared_data: Path) -> None:
    """Of products whose images are left out, so that those alone are missing or shorter."""
    products = sorted((shared_data / "s1_grd").glob("*.zip")) + sorted((shared_data / "s2_imagery").glob("S2*.zip"))
    assert products
    for product in products:
        with pytest.raises(CorruptError, match=r"(measurement|annotation|IMG_DATA).*(missing|instead of)"):
            check_file(product, product.name, "x")
        with zipfile.ZipFile(product) as archive:
            [name] = [name for name in archive.namelist() if name.endswith("manifest.safe")]
            base = name.removesuffix("manifest.safe")
            members = read_manifest(archive.read(name))
            there = [member for member in members if base + member.path in archive.namelist()]
            assert len(there) >= 4
            for member in there:
                content = archive.read(base + member.path)
                if len(content) == member.size:
                    assert member.checksum is not None
                    hasher = member.checksum.hasher()
                    hasher.update(content)
                    assert hasher.hexdigest() == member.checksum.digest
