"""Annotations of real scenes from every kind of source: disk, real servers on loopback, a real bucket, a service of nodes."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from range_server import RangeServer

from catalogue.sentinel1.annotations import AnnotationError, AnnotationFile, AnnotationReader, configured_reader
from common.config import Settings
from common.errors import ConfigurationError, ThresherError, UpstreamError, UserError
from common.features import SceneFeature
from common.storage.s3 import client_for

FIRST = "S1A_IW_SLC__1SDV_20250406T022008_20250406T022035_058630_07421F_93A7"
SECOND = "S1A_IW_SLC__1SDV_20250418T022008_20250418T022035_058805_074946_C7D4"
ROME = "S1A_IW_SLC__1SDV_20220104T170557_20220104T170624_041314_04E951_F1F1"
OLD = "S1A_IW_SLC__1SDV_20150423T170524_20150423T170552_005614_007305_67F9"
UUID = "db0c8ef3-8ec0-5185-a537-812dad3c58f8"
BIG = 4 * 2**30 + 12_345


@pytest.fixture
def pair(shared_data: Path) -> Path:
    return shared_data / "s1_slc" / "pair_T108_20250406_20250418"


@pytest.fixture
def annotations(pair: Path) -> list[AnnotationFile]:
    """Those of the first scene, as the zip holds them."""
    return _expected(pair, FIRST)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What the server serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


@dataclass
class Site:
    """A running server."""

    server: RangeServer
    url: str

    def pattern(self, behaviour: str = "ranges", name: str = "{SCENE}.zip") -> str:
        return f"{self.url}/{behaviour}/{name}"


@pytest.fixture
async def site(files: Path) -> AsyncIterator[Site]:
    server = RangeServer(files)
    running = await server.start()
    yield Site(server, str(running.make_url("")).rstrip("/"))
    await running.close()


def _scene(source_id: str, uuid: str = "") -> SceneFeature:
    data = {"date": "2025-04-06T02:20:08Z", "metadata": {"uuid": uuid}}
    return SceneFeature.model_validate({"source_id": source_id, "data": data, "wkt": "POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0))"})


def _expected(pair: Path, scene: str) -> list[AnnotationFile]:
    with zipfile.ZipFile(pair / f"{scene}.SAFE.zip") as archive:
        names = [name for name in archive.namelist() if name.startswith(f"{scene}.SAFE/annotation/s1a-")]
        return [AnnotationFile(name.rpartition("/")[2], archive.read(name)) for name in sorted(names)]


def _reader(*urls: str, storage: Path | str = "", allowed: Sequence[str] = (), **annotations: object) -> AnnotationReader:
    limits = {"allowed_urls": list(allowed)}
    chosen = {"urls": list(urls), "timeout_s": 5, "retries": 2, **annotations}
    return configured_reader(Settings.model_validate({"storage": str(storage), "annotations": chosen, "limits": limits}))


def _zip(path: Path, annotations: Sequence[AnnotationFile], folder: str = "", method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for each in annotations:
            archive.writestr(folder + each.name, each.content)


def _big_zip(path: Path, annotations: Sequence[AnnotationFile]) -> None:
    """A zip of more than 4 GB, all but the annotations a hole: half of them before its measurement, half behind."""
    with path.open("w+b") as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for number, each in enumerate(annotations):
            if number == len(annotations) // 2:
                archive.writestr(f"{FIRST}.SAFE/measurement/iw1.tiff", b"")
                measurement = archive.getinfo(f"{FIRST}.SAFE/measurement/iw1.tiff")
                measurement.file_size = measurement.compress_size = BIG
                archive.start_dir += BIG
                file.seek(archive.start_dir)
            archive.writestr(f"{FIRST}.SAFE/annotation/{each.name}", each.content, zipfile.ZIP_DEFLATED)


class TestOnDisk:
    async def test_a_safe_zip_gives_the_six_annotations_and_no_calibration(self, pair: Path, annotations: list[AnnotationFile]) -> None:
        assert await _reader(f"{pair}/{{SCENE}}.SAFE.zip").read(_scene(FIRST), aoi="a") == annotations
        assert len(annotations) == 6

    async def test_a_safe_folder(self, shared_data: Path) -> None:
        folder = shared_data / "s1_slc" / "T117_20220104_sarsen"
        annotation = folder / f"{ROME}.SAFE" / "annotation"
        name = "s1a-iw1-slc-vv-20220104t170558-20220104t170623-041314-04e951-004.xml"
        expected = [AnnotationFile(name, (annotation / name).read_bytes())]
        for place in (f"{folder}/{{SCENE}}.SAFE", str(folder), f"file://{folder}/{{SCENE}}.SAFE", f"{annotation}"):
            assert await _reader(place).read(_scene(f"{ROME}.SAFE"), aoi="a") == expected

    async def test_a_folder_of_zips_and_a_pattern_of_parts(self, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]) -> None:
        assert await _reader(str(pair)).read(_scene(FIRST), aoi="a") == annotations
        target = tmp_path / "Denmark" / "2025" / "04" / "06" / "S1A" / "20250406" / "058630.zip"
        target.parent.mkdir(parents=True)
        shutil.copy(pair / f"{FIRST}.SAFE.zip", target)
        pattern = f"{tmp_path}/{{AREA}}/{{YEAR}}/{{MONTH}}/{{DAY}}/{{MISSION_ID}}/{{DATE}}/{{ORBIT}}.zip"
        assert await _reader(pattern).read(_scene(FIRST), aoi="Denmark") == annotations

    @pytest.mark.parametrize(
        ("kind", "folder"),
        [
            *((kind, folder) for kind in ("zip", "tar") for folder in ("", "annotation/", f"{FIRST}.SAFE/annotation/", "./some/folder/")),
            ("stored", ""),
            ("tar.gz", "annotation/"),
            ("tar.xz", "annotation/"),
        ],
    )
    async def test_archives_of_annotations_alone(
        self, tmp_path: Path, pair: Path, annotations: list[AnnotationFile], kind: str, folder: str
    ) -> None:
        path = tmp_path / f"a.{kind}"
        wanted = annotations[:2]
        others = _expected(pair, SECOND)[:1]
        if "tar" in kind:
            with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
                for each in [*others, *wanted]:
                    info = tarfile.TarInfo(folder + each.name)
                    info.size = len(each.content)
                    archive.addfile(info, io.BytesIO(each.content))
        else:
            _zip(path, [*others, *wanted], folder.removeprefix("./"), zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED)
        assert await _reader(str(path)).read(_scene(FIRST), aoi="a") == wanted

    async def test_one_document_of_all_annotations(self, shared_data: Path, tmp_path: Path) -> None:
        packed = shared_data / "s1_slc" / "series_T117" / f"{OLD}_VV.xml.gz"
        plain = tmp_path / f"{OLD}_VV.xml"
        plain.write_bytes(gzip.decompress(packed.read_bytes()))
        for pattern in (f"{packed.parent}/{{SCENE}}_VV.xml.gz", f"{tmp_path}/{{SCENE}}_VV.xml"):
            found = await _reader(pattern).read(_scene(OLD), aoi="a")
            assert [each.name[:14] for each in found] == ["s1a-iw1-slc-vv", "s1a-iw2-slc-vv", "s1a-iw3-slc-vv"]
            for each, bursts in zip(found, (9, 10, 9), strict=True):
                root = ElementTree.fromstring(each.content)
                assert root.tag == "product"
                assert root.findtext("adsHeader/swath") == each.name[4:7].upper()
                assert len(root.findall("swathTiming/burstList/burst")) in (bursts, bursts + 1, bursts - 1)

    async def test_a_truncated_zip_names_scene_and_file(self, pair: Path, tmp_path: Path) -> None:
        content = (pair / f"{FIRST}.SAFE.zip").read_bytes()
        (tmp_path / f"{FIRST}.zip").write_bytes(content[: len(content) // 2])
        with pytest.raises(AnnotationError, match=rf"{FIRST} cannot be read: .*{FIRST}\.zip is no zip, or one cut short"):
            await _reader(f"{tmp_path}/{{SCENE}}.zip").read(_scene(FIRST), aoi="a")

    async def test_a_broken_member_is_named(self, pair: Path, tmp_path: Path) -> None:
        content = bytearray((pair / f"{FIRST}.SAFE.zip").read_bytes())
        with zipfile.ZipFile(pair / f"{FIRST}.SAFE.zip") as archive:
            name = next(name for name in archive.namelist() if "annotation/s1a-iw2-slc-vh" in name)
            place = archive.getinfo(name).header_offset + 500
        content[place : place + 200] = bytes(200)
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(AnnotationError, match=rf"s1a-iw2-slc-vh-\S+ of {FIRST} is broken"):
            await _reader(f"{tmp_path}/a.zip").read(_scene(FIRST), aoi="a")

    async def test_a_bomb_is_not_unpacked(self, tmp_path: Path, annotations: list[AnnotationFile]) -> None:
        _zip(tmp_path / "a.zip", [AnnotationFile(annotations[0].name, bytes(65 * 2**20))])
        with pytest.raises(AnnotationError, match=r"s1a-iw1\S+ of S1A\S+ has 68157440 bytes"):
            await _reader(f"{tmp_path}/a.zip").read(_scene(FIRST), aoi="a")

    async def test_an_empty_member_and_one_that_is_there_twice(self, tmp_path: Path, annotations: list[AnnotationFile]) -> None:
        name = annotations[0].name
        _zip(tmp_path / "empty.zip", [AnnotationFile(name, b" \n")])
        with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
            archive.writestr(f"a/{name}", b"<product/>")
            archive.writestr(f"b/{name}", b"<product/>")
        for file, why in (("empty", "is empty"), ("twice", "is there twice")):
            with pytest.raises(AnnotationError, match=rf"s1a-iw1-slc-vh-\S+ of {FIRST} {why}"):
                await _reader(f"{tmp_path}/{file}.zip").read(_scene(FIRST), aoi="a")

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "neither a zip, nor a tar, nor an XML document"),
            (b"not an archive", "neither a zip, nor a tar, nor an XML document"),
            (b"<html>hello", "is not XML"),
            (b"<html/>", "without burst/metadata/product"),
            (b'<!DOCTYPE a [<!ENTITY b "cc">]><burst>&b;</burst>', "declares a document type"),
            (b"<a>" * 100 + b"</a>" * 100, "nested too deeply"),
            (gzip.compress(b"<burst>" + bytes(1000))[:20], "cut short or broken"),
        ],
    )
    async def test_files_that_hold_nothing(self, tmp_path: Path, content: bytes, why: str) -> None:
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(AnnotationError, match=why):
            await _reader(f"{tmp_path}/file").read(_scene(FIRST), aoi="a")

    async def test_another_scene_is_not_taken_for_this_one(self, pair: Path, tmp_path: Path) -> None:
        shutil.copy(pair / f"{SECOND}.SAFE.zip", tmp_path / f"{FIRST}.zip")
        with pytest.raises(AnnotationError, match=rf"holds no annotation of {FIRST}"):
            await _reader(f"{tmp_path}/{{SCENE}}.zip").read(_scene(FIRST), aoi="a")


class TestOverHttp:
    async def test_only_the_needed_ranges_are_fetched_and_only_once(
        self, site: Site, files: Path, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        reader = _reader(site.pattern(), storage=tmp_path / "store")
        assert await reader.read(_scene(FIRST), aoi="a") == annotations
        count, sent = site.server.count, site.server.sent
        assert sent < (files / f"{FIRST}.zip").stat().st_size * 0.6
        assert count <= 3
        assert all(wanted for _, _, wanted in site.server.seen)
        for again in (reader, _reader(site.pattern(), storage=tmp_path / "store")):
            assert await again.read(_scene(FIRST), aoi="b") == annotations
        assert (site.server.count, site.server.sent) == (count, sent)

    async def test_a_zip_of_four_gigabytes(self, site: Site, files: Path, annotations: list[AnnotationFile]) -> None:
        _big_zip(files / f"{FIRST}.zip", annotations)
        assert (files / f"{FIRST}.zip").stat().st_size > 2**32
        assert await _reader(site.pattern()).read(_scene(FIRST), aoi="a") == annotations
        assert site.server.sent < 2 * 2**20

    @pytest.mark.parametrize("behaviour", ["busy-twice", "cuts-once", "redirect", "no-suffix", "ignores", "ignores-chunked"])
    async def test_servers_that_are_in_the_way(
        self, site: Site, files: Path, pair: Path, annotations: list[AnnotationFile], behaviour: str
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        assert await _reader(site.pattern(behaviour)).read(_scene(FIRST), aoi="a") == annotations

    @pytest.mark.parametrize(
        ("behaviour", "kind", "why"),
        [
            ("always-busy", UpstreamError, r"is busy \(HTTP 503\)"),
            ("always-cut", UpstreamError, "the connection failed"),
            ("forbidden", AnnotationError, r"refuses access \(HTTP 403\)"),
            ("lies", AnnotationError, "other bytes than it was asked for"),
            ("silent-range", AnnotationError, "without saying which"),
            ("no-size", AnnotationError, "does not tell where the file ends"),
            ("changes", UpstreamError, "changed while it was read"),
            ("redirect-private", AnnotationError, "is not below an allowed prefix"),
        ],
    )
    async def test_servers_that_are_no_use(
        self, site: Site, files: Path, pair: Path, behaviour: str, kind: type[ThresherError], why: str
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        with pytest.raises(kind, match=rf"(?s){FIRST} cannot be read: .*{why}"):
            await _reader(site.pattern(behaviour)).read(_scene(FIRST), aoi="a")

    async def test_a_large_file_is_never_fetched_whole(self, site: Site, files: Path, annotations: list[AnnotationFile]) -> None:
        _big_zip(files / f"{FIRST}.zip", annotations)
        with pytest.raises(AnnotationError, match="which its server does not offer"):
            await _reader(site.pattern("ignores")).read(_scene(FIRST), aoi="a")
        (files / "tar").touch()
        with (files / "tar").open("r+b") as file:
            file.truncate(100 * 2**20)
        with pytest.raises(AnnotationError, match="no zip, or one cut short, and too large"):
            await _reader(site.pattern("ranges", "tar")).read(_scene(FIRST), aoi="a")
        assert site.server.sent < 32 * 2**20  # what lies in the buffers of the sockets

    async def test_missing_and_empty_files(self, site: Site, files: Path) -> None:
        with pytest.raises(AnnotationError, match=r"does not exist \(HTTP 404\)"):
            await _reader(site.pattern()).read(_scene(FIRST), aoi="a")
        (files / f"{FIRST}.zip").touch()
        for behaviour in ("ranges", "unsatisfiable"):
            with pytest.raises(AnnotationError, match="is empty"):
                await _reader(site.pattern(behaviour)).read(_scene(FIRST), aoi="a")

    async def test_a_document_over_http(self, site: Site, files: Path, shared_data: Path) -> None:
        shutil.copy(shared_data / "s1_slc" / "series_T117" / f"{OLD}_VV.xml.gz", files / f"{OLD}.xml.gz")
        assert len(await _reader(site.pattern(name="{SCENE}.xml.gz")).read(_scene(OLD), aoi="a")) == 3

    async def test_a_zip_with_a_long_comment_and_a_truncated_one(
        self, site: Site, files: Path, pair: Path, annotations: list[AnnotationFile]
    ) -> None:
        target = files / f"{FIRST}.zip"
        shutil.copy(pair / f"{FIRST}.SAFE.zip", target)
        with zipfile.ZipFile(target, "a") as archive:
            archive.comment = b"x" * 65_535
        assert await _reader(site.pattern()).read(_scene(FIRST), aoi="a") == annotations
        with target.open("r+b") as file:
            file.truncate(1_000_000)
        with pytest.raises(AnnotationError, match="is no zip, or one cut short"):
            await _reader(site.pattern()).read(_scene(FIRST), aoi="a")


class TestInABucket:
    async def test_a_zip_and_an_unpacked_product(
        self, s3_settings: Settings, s3_bucket: str, pair: Path, annotations: list[AnnotationFile]
    ) -> None:
        client = client_for(s3_settings.s3)
        client.upload_file(str(pair / f"{FIRST}.SAFE.zip"), s3_bucket, f"zips/{FIRST}.zip")
        safe = f"eodata/Sentinel-1/SAR/IW_SLC__1S/2025/04/06/{FIRST}.SAFE"
        for each in annotations:
            client.put_object(Bucket=s3_bucket, Key=f"{safe}/annotation/{each.name}", Body=each.content)
            client.put_object(Bucket=s3_bucket, Key=f"{safe}/annotation/calibration/calibration-{each.name}", Body=b"no")
            client.put_object(Bucket=s3_bucket, Key=f"bare/{each.name}", Body=each.content)
        unpacked = f"s3://{s3_bucket}/eodata/Sentinel-1/SAR/IW_SLC__1S/{{YEAR}}/{{MONTH}}/{{DAY}}/{{SCENE}}.SAFE"
        for pattern in (f"s3://{s3_bucket}/zips/{{SCENE}}.zip", unpacked, f"s3://{s3_bucket}/bare"):
            settings = Settings.model_validate({"annotations": {"urls": [pattern]}, "s3": s3_settings.s3, "limits": {"allowed_urls": []}})
            assert await configured_reader(settings).read(_scene(FIRST), aoi="a") == annotations
            with pytest.raises(AnnotationError, match=f"{SECOND} cannot be read: s3://"):
                await configured_reader(settings).read(_scene(SECOND), aoi="a")

    async def test_what_was_fetched_is_kept_in_a_bucket(
        self, s3_settings: Settings, s3_bucket: str, site: Site, files: Path, pair: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        settings = s3_settings.model_copy(update={"annotations": _settings(site.pattern()).annotations})
        reader = configured_reader(settings)
        for _ in range(2):
            assert await reader.read(_scene(FIRST), aoi="a") == annotations
            count = site.server.count
        listed = client_for(s3_settings.s3).list_objects_v2(Bucket=s3_bucket)["Contents"]
        assert [entry["Key"] for entry in listed] == [f"layers/annotations/{FIRST}.zip"]
        assert count == site.server.count <= 3


def _settings(*urls: str) -> Settings:
    return Settings.model_validate({"annotations": {"urls": list(urls)}})


class Nodes:
    """A stand-in for the service of nodes, as its documentation describes it: only files ask for the token."""

    def __init__(self, annotations: Sequence[AnnotationFile]) -> None:
        self.files = {each.name: each.content for each in annotations}
        self.token = "token-of-the-tests"
        self.asked: list[str] = []
        self.elsewhere = ""

    async def start(self) -> TestServer:
        app = web.Application()
        app.router.add_get("/odata/v1/{rest:.*}", self._handle)
        server = TestServer(app)
        await server.start_server()
        return server

    async def _handle(self, request: web.Request) -> web.Response:
        rest = request.match_info["rest"]
        self.asked.append(rest)
        folder = f"Products({UUID})/Nodes({FIRST}.SAFE)/Nodes(annotation)/Nodes"
        if rest == folder:
            names = ["calibration", "rfi", *self.files]
            nodes = [{"Id": name, "Name": name, "ContentLength": len(self.files.get(name, b"")), "ChildrenNumber": 0} for name in names]
            return web.json_response({"result": nodes})
        name = rest.removeprefix(f"{folder}(").removesuffix(")/$value")
        if name not in self.files:
            return web.json_response({"detail": "no such node"}, status=404)
        if self.elsewhere:
            raise web.HTTPFound(self.elsewhere)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"detail": "Unauthorized"}, status=401)
        return web.Response(body=self.files[name])


@pytest.fixture
async def nodes(annotations: list[AnnotationFile]) -> AsyncIterator[tuple[Nodes, str]]:
    service = Nodes(annotations)
    server = await service.start()
    yield service, str(server.make_url("/odata/v1"))
    await server.close()


class TestThroughNodes:
    async def test_listed_and_fetched_with_a_token(
        self, nodes: tuple[Nodes, str], tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        service, root = nodes
        (tmp_path / "token").write_text(f"{service.token}\n")
        for secret in ({"nodes_token": service.token}, {"nodes_token_file": str(tmp_path / "token")}):
            assert await _reader(nodes_url=root, **secret).read(_scene(FIRST, UUID), aoi="a") == annotations
        assert len(service.asked) == 14

    async def test_without_a_token_or_a_uuid_it_says_so(self, nodes: tuple[Nodes, str]) -> None:
        _, root = nodes
        with pytest.raises(AnnotationError, match=r"refuses access \(HTTP 401\): it needs a token: annotations.nodes_token"):
            await _reader(nodes_url=root).read(_scene(FIRST, UUID), aoi="a")
        with pytest.raises(AnnotationError, match="its token has expired") as told:
            await _reader(nodes_url=root, nodes_token="secret-of-another").read(_scene(FIRST, UUID), aoi="a")
        assert "secret-of-another" not in str(told.value)
        for uuid in ("", "x)/Nodes(y"):
            with pytest.raises(AnnotationError, match="comes without one"):
                await _reader(nodes_url=root).read(_scene(FIRST, uuid), aoi="a")

    async def test_the_token_goes_nowhere_else(self, nodes: tuple[Nodes, str], site: Site, files: Path) -> None:
        service, root = nodes
        (files / "x").write_bytes(b"<product/>")
        service.elsewhere = site.pattern(name="x")
        reader = _reader(nodes_url=root, nodes_token=service.token, allowed=[site.url])
        assert len(await reader.read(_scene(FIRST, UUID), aoi="a")) == 6
        assert site.server.tokens == [None] * 6

    async def test_answers_that_are_no_list(self, site: Site, files: Path) -> None:
        folder = files / f"Products({UUID})" / f"Nodes({FIRST}.SAFE)" / "Nodes(annotation)"
        folder.mkdir(parents=True)
        for content in (b"<html>", b"[]", json.dumps({"result": [{"Title": 1}]}).encode()):
            (folder / "Nodes").write_bytes(content)
            with pytest.raises(AnnotationError, match="is not a list of nodes"):
                await _reader(nodes_url=f"{site.url}/ranges").read(_scene(FIRST, UUID), aoi="a")


class TestInOrder:
    async def test_the_first_that_has_them_and_every_error_of_none(
        self, site: Site, files: Path, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        reader = _reader(f"{tmp_path}/nothing/{{SCENE}}.zip", site.pattern("forbidden"), site.pattern())
        assert await reader.read(_scene(FIRST), aoi="a") == annotations
        with pytest.raises(AnnotationError) as told:
            await reader.read(_scene(SECOND), aoi="a")
        for part in (SECOND, f"{tmp_path}/nothing/{SECOND}.zip does not exist", "HTTP 403", "HTTP 404"):
            assert part in str(told.value)

    async def test_a_payloads_own_places_come_first_and_are_kept_apart(
        self, site: Site, files: Path, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        forged = [AnnotationFile(each.name, b"<product/>") for each in annotations]
        _zip(files / f"forged-{FIRST}.zip", forged)
        reader = _reader(site.pattern(), storage=tmp_path / "store", allowed=[site.url])
        own = [site.pattern(name="forged-{SCENE}.zip")]
        for _ in range(2):
            assert await reader.read(_scene(FIRST), aoi="a", more=own) == forged
            assert await reader.read(_scene(FIRST), aoi="a") == annotations
            count = site.server.count
        assert count == site.server.count <= 6

    async def test_a_broken_cache_is_written_anew(
        self, site: Site, files: Path, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        reader = _reader(site.pattern(), storage=tmp_path / "store")
        await reader.read(_scene(FIRST), aoi="a")
        kept = tmp_path / "store" / "annotations" / f"{FIRST}.zip"
        whole = kept.read_bytes()
        for broken in (b"", b"rubbish", whole[:-1000], whole[:1000] + bytes(1000) + whole[2000:]):
            kept.write_bytes(broken)
            assert await reader.read(_scene(FIRST), aoi="a") == annotations
            assert kept.read_bytes() == whole

    async def test_a_cache_that_cannot_be_written_is_no_obstacle(
        self, site: Site, files: Path, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        (tmp_path / "store").write_text("a file where the folder should be")
        assert await _reader(site.pattern(), storage=tmp_path / "store").read(_scene(FIRST), aoi="a") == annotations

    async def test_what_lies_on_disk_is_not_copied_to_the_cache(self, pair: Path, tmp_path: Path) -> None:
        await _reader(str(pair), storage=tmp_path / "store").read(_scene(FIRST), aoi="a")
        assert not (tmp_path / "store").exists()

    async def test_many_scenes_a_few_at_once_and_the_bad_ones_named(
        self, site: Site, files: Path, pair: Path, annotations: list[AnnotationFile]
    ) -> None:
        for scene in (FIRST, SECOND):
            shutil.copy(pair / f"{scene}.SAFE.zip", files / f"{scene}.zip")
        broken = FIRST[:-4] + "FFFF"
        (files / f"{broken}.zip").write_bytes(b"PK\x03\x04 and nothing more")
        scenes = [_scene(name) for name in (FIRST, broken, SECOND, "S2A_NO_RADAR", ROME, FIRST, SECOND, FIRST)]
        reader = _reader(site.pattern("slow"), concurrency=2)
        outcome = [(scene.source_id, found) async for scene, found in reader.read_many(scenes, aoi="a")]
        assert sorted(name for name, _ in outcome) == sorted(scene.source_id for scene in scenes)
        failed = {name: str(found) for name, found in outcome if isinstance(found, ThresherError)}
        assert set(failed) == {broken, "S2A_NO_RADAR", ROME}
        assert all(name in why for name, why in failed.items())
        assert all(found == annotations for name, found in outcome if name == FIRST)
        assert site.server.most_at_once == 2

    async def test_leaving_early_ends_the_rest(self, site: Site, files: Path, pair: Path) -> None:
        for scene in (FIRST, SECOND):
            shutil.copy(pair / f"{scene}.SAFE.zip", files / f"{scene}.zip")
        many = _reader(site.pattern("slow"), concurrency=2).read_many([_scene(FIRST), *[_scene(SECOND)] * 50], aoi="a")
        async for _ in many:
            break
        await many.aclose()
        assert site.server.count < 20


class TestNotAllowed:
    @pytest.mark.parametrize(
        ("pattern", "why"),
        [
            ("/etc/{SCENE}", "is not below an allowed prefix"),
            ("{SCENE}.zip", "must be https"),
            ("ftp://example.org/{SCENE}.zip", "is not below an allowed prefix"),
            ("https://169.254.169.254/{SCENE}", "is a private host"),
            ("https://example.org/{NOTHING}.zip", "'{NOTHING}' is not known"),
            ("https://example.org/../{SCENE}", "'.' and '..'"),
        ],
    )
    async def test_patterns_of_a_payload(self, pattern: str, why: str, tmp_path: Path) -> None:
        reader = _reader(f"{tmp_path}/{{SCENE}}.zip", allowed=["https://", "s3://"])
        with pytest.raises(UserError, match=why) as told:
            await reader.read(_scene(FIRST), aoi="a", more=[pattern])
        assert told.value.field == "annotations_urls"
        with pytest.raises(UserError):
            _ = [found async for found in reader.read_many([_scene(FIRST)], aoi="a", more=[pattern])]

    async def test_a_link_out_of_an_allowed_folder(self, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]) -> None:
        folder = tmp_path / "allowed"
        (folder / f"{FIRST}.SAFE" / "annotation").mkdir(parents=True)
        (folder / f"{SECOND}.zip").symlink_to(pair / f"{SECOND}.SAFE.zip")
        (tmp_path / "outside.xml").write_bytes(b"<product/>")
        (folder / f"{FIRST}.SAFE" / "annotation" / annotations[0].name).symlink_to(tmp_path / "outside.xml")
        reader = _reader(allowed=[str(folder)])
        for scene in (FIRST, SECOND):
            with pytest.raises(AnnotationError, match="is not below an allowed prefix"):
                await reader.read(_scene(scene), aoi="a", more=[str(folder)])
        shutil.copy(pair / f"{FIRST}.SAFE.zip", folder / "a.zip")
        assert await reader.read(_scene(FIRST), aoi="a", more=[str(folder / "a.zip")]) == annotations

    async def test_no_source_at_all(self) -> None:
        with pytest.raises(UserError, match=r"annotations\.urls"):
            await _reader().read(_scene(FIRST), aoi="a")

    @pytest.mark.parametrize("url", ["data/{SCENE}.zip", "ftp://example.org/{SCENE}", "/data/{NOTHING}.zip", ""])
    def test_patterns_of_the_configuration(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"annotations\.urls"):
            _reader(url)
