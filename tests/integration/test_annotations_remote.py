"""Annotations of real scenes from real servers on loopback, a real bucket, and a service of nodes."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from annotation_sources import FIRST, OLD, SECOND, Site, reader_of, scene_named

from catalogue.sentinel1.annotations import AnnotationError, AnnotationFile, configured_reader
from common.config import Settings
from common.errors import ThresherError, UpstreamError
from common.storage.s3 import client_for

UUID = "db0c8ef3-8ec0-5185-a537-812dad3c58f8"
BIG = 4 * 2**30 + 12_345


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


class TestOverHttp:
    async def test_only_the_needed_ranges_are_fetched_and_only_once(
        self, site: Site, files: Path, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        reader = reader_of(site.pattern(), storage=tmp_path / "store")
        assert await reader.read(scene_named(FIRST), aoi="a") == annotations
        count, sent = site.server.count, site.server.sent
        assert sent < (files / f"{FIRST}.zip").stat().st_size * 0.6
        assert count <= 3
        assert all(wanted for _, _, wanted in site.server.seen)
        for again in (reader, reader_of(site.pattern(), storage=tmp_path / "store")):
            assert await again.read(scene_named(FIRST), aoi="b") == annotations
        assert (site.server.count, site.server.sent) == (count, sent)

    async def test_a_zip_of_four_gigabytes(self, site: Site, files: Path, annotations: list[AnnotationFile]) -> None:
        _big_zip(files / f"{FIRST}.zip", annotations)
        assert (files / f"{FIRST}.zip").stat().st_size > 2**32
        assert await reader_of(site.pattern()).read(scene_named(FIRST), aoi="a") == annotations
        assert site.server.sent < 2 * 2**20

    @pytest.mark.parametrize("behaviour", ["busy-twice", "cuts-once", "redirect", "no-suffix", "ignores", "ignores-chunked"])
    async def test_servers_that_are_in_the_way(
        self, site: Site, files: Path, pair: Path, annotations: list[AnnotationFile], behaviour: str
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        assert await reader_of(site.pattern(behaviour)).read(scene_named(FIRST), aoi="a") == annotations

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
            await reader_of(site.pattern(behaviour)).read(scene_named(FIRST), aoi="a")

    async def test_a_large_file_is_never_fetched_whole(self, site: Site, files: Path, annotations: list[AnnotationFile]) -> None:
        _big_zip(files / f"{FIRST}.zip", annotations)
        with pytest.raises(AnnotationError, match="which its server does not offer"):
            await reader_of(site.pattern("ignores")).read(scene_named(FIRST), aoi="a")
        (files / "tar").touch()
        with (files / "tar").open("r+b") as file:
            file.truncate(100 * 2**20)
        with pytest.raises(AnnotationError, match="no zip, or one cut short, and too large"):
            await reader_of(site.pattern("ranges", "tar")).read(scene_named(FIRST), aoi="a")
        assert site.server.sent < 32 * 2**20  # what lies in the buffers of the sockets

    async def test_missing_and_empty_files(self, site: Site, files: Path) -> None:
        with pytest.raises(AnnotationError, match=r"does not exist \(HTTP 404\)"):
            await reader_of(site.pattern()).read(scene_named(FIRST), aoi="a")
        (files / f"{FIRST}.zip").touch()
        for behaviour in ("ranges", "unsatisfiable"):
            with pytest.raises(AnnotationError, match="is empty"):
                await reader_of(site.pattern(behaviour)).read(scene_named(FIRST), aoi="a")

    async def test_a_document_over_http(self, site: Site, files: Path, shared_data: Path) -> None:
        shutil.copy(shared_data / "s1_slc" / "series_T117" / f"{OLD}_VV.xml.gz", files / f"{OLD}.xml.gz")
        assert len(await reader_of(site.pattern(name="{SCENE}.xml.gz")).read(scene_named(OLD), aoi="a")) == 3

    async def test_a_zip_with_a_long_comment_and_a_truncated_one(
        self, site: Site, files: Path, pair: Path, annotations: list[AnnotationFile]
    ) -> None:
        target = files / f"{FIRST}.zip"
        shutil.copy(pair / f"{FIRST}.SAFE.zip", target)
        with zipfile.ZipFile(target, "a") as archive:
            archive.comment = b"x" * 65_535
        assert await reader_of(site.pattern()).read(scene_named(FIRST), aoi="a") == annotations
        with target.open("r+b") as file:
            file.truncate(1_000_000)
        with pytest.raises(AnnotationError, match="is no zip, or one cut short"):
            await reader_of(site.pattern()).read(scene_named(FIRST), aoi="a")


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
            assert await configured_reader(settings).read(scene_named(FIRST), aoi="a") == annotations
            with pytest.raises(AnnotationError, match=f"{SECOND} cannot be read: s3://"):
                await configured_reader(settings).read(scene_named(SECOND), aoi="a")

    async def test_what_was_fetched_is_kept_in_a_bucket(
        self, s3_settings: Settings, s3_bucket: str, site: Site, files: Path, pair: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        settings = s3_settings.model_copy(update={"annotations": _settings(site.pattern()).annotations})
        reader = configured_reader(settings)
        for _ in range(2):
            assert await reader.read(scene_named(FIRST), aoi="a") == annotations
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
            assert await reader_of(nodes_url=root, **secret).read(scene_named(FIRST, UUID), aoi="a") == annotations
        assert len(service.asked) == 14

    async def test_without_a_token_or_a_uuid_it_says_so(self, nodes: tuple[Nodes, str]) -> None:
        _, root = nodes
        with pytest.raises(AnnotationError, match=r"refuses access \(HTTP 401\): it needs a token: annotations.nodes_token"):
            await reader_of(nodes_url=root).read(scene_named(FIRST, UUID), aoi="a")
        with pytest.raises(AnnotationError, match="its token has expired") as told:
            await reader_of(nodes_url=root, nodes_token="secret-of-another").read(scene_named(FIRST, UUID), aoi="a")
        assert "secret-of-another" not in str(told.value)
        for uuid in ("", "x)/Nodes(y"):
            with pytest.raises(AnnotationError, match="comes without one"):
                await reader_of(nodes_url=root).read(scene_named(FIRST, uuid), aoi="a")

    async def test_the_token_goes_nowhere_else(self, nodes: tuple[Nodes, str], site: Site, files: Path) -> None:
        service, root = nodes
        (files / "x").write_bytes(b"<product/>")
        service.elsewhere = site.pattern(name="x")
        reader = reader_of(nodes_url=root, nodes_token=service.token, allowed=[site.url])
        assert len(await reader.read(scene_named(FIRST, UUID), aoi="a")) == 6
        assert site.server.tokens == [None] * 6

    async def test_answers_that_are_no_list(self, site: Site, files: Path) -> None:
        folder = files / f"Products({UUID})" / f"Nodes({FIRST}.SAFE)" / "Nodes(annotation)"
        folder.mkdir(parents=True)
        for content in (b"<html>", b"[]", json.dumps({"result": [{"Title": 1}]}).encode()):
            (folder / "Nodes").write_bytes(content)
            with pytest.raises(AnnotationError, match="is not a list of nodes"):
                await reader_of(nodes_url=f"{site.url}/ranges").read(scene_named(FIRST, UUID), aoi="a")
