"""Annotations of real scenes on disk, the order in which places are asked, the cache, and what is not allowed."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from annotation_sources import FIRST, OLD, SECOND, Site, annotations_in_zip, reader_of, scene_named, write_zip
from sentinel1_data import ROME

from catalogue.sentinel1.annotations import AnnotationError, AnnotationFile
from common.errors import ConfigurationError, ThresherError, UserError


class TestOnDisk:
    async def test_a_safe_zip_gives_the_six_annotations_and_no_calibration(self, pair: Path, annotations: list[AnnotationFile]) -> None:
        assert await reader_of(f"{pair}/{{SCENE}}.SAFE.zip").read(scene_named(FIRST), aoi="a") == annotations
        assert len(annotations) == 6

    async def test_a_safe_folder(self, shared_data: Path) -> None:
        folder = shared_data / "s1_slc" / "T117_20220104_sarsen"
        annotation = folder / f"{ROME}.SAFE" / "annotation"
        name = "s1a-iw1-slc-vv-20220104t170558-20220104t170623-041314-04e951-004.xml"
        expected = [AnnotationFile(name, (annotation / name).read_bytes())]
        for place in (f"{folder}/{{SCENE}}.SAFE", str(folder), f"file://{folder}/{{SCENE}}.SAFE", f"{annotation}"):
            assert await reader_of(place).read(scene_named(f"{ROME}.SAFE"), aoi="a") == expected

    async def test_a_folder_of_zips_and_a_pattern_of_parts(self, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]) -> None:
        assert await reader_of(str(pair)).read(scene_named(FIRST), aoi="a") == annotations
        target = tmp_path / "Denmark" / "2025" / "04" / "06" / "S1A" / "20250406" / "058630.zip"
        target.parent.mkdir(parents=True)
        shutil.copy(pair / f"{FIRST}.SAFE.zip", target)
        pattern = f"{tmp_path}/{{AREA}}/{{YEAR}}/{{MONTH}}/{{DAY}}/{{MISSION_ID}}/{{DATE}}/{{ORBIT}}.zip"
        assert await reader_of(pattern).read(scene_named(FIRST), aoi="Denmark") == annotations

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
        others = annotations_in_zip(pair, SECOND)[:1]
        if "tar" in kind:
            with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
                for each in [*others, *wanted]:
                    info = tarfile.TarInfo(folder + each.name)
                    info.size = len(each.content)
                    archive.addfile(info, io.BytesIO(each.content))
        else:
            write_zip(path, [*others, *wanted], folder.removeprefix("./"), zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED)
        assert await reader_of(str(path)).read(scene_named(FIRST), aoi="a") == wanted

    async def test_one_document_of_all_annotations(self, shared_data: Path, tmp_path: Path) -> None:
        packed = shared_data / "s1_slc" / "series_T117" / f"{OLD}_VV.xml.gz"
        plain = tmp_path / f"{OLD}_VV.xml"
        plain.write_bytes(gzip.decompress(packed.read_bytes()))
        for pattern in (f"{packed.parent}/{{SCENE}}_VV.xml.gz", f"{tmp_path}/{{SCENE}}_VV.xml"):
            found = await reader_of(pattern).read(scene_named(OLD), aoi="a")
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
            await reader_of(f"{tmp_path}/{{SCENE}}.zip").read(scene_named(FIRST), aoi="a")

    async def test_a_broken_member_is_named(self, pair: Path, tmp_path: Path) -> None:
        content = bytearray((pair / f"{FIRST}.SAFE.zip").read_bytes())
        with zipfile.ZipFile(pair / f"{FIRST}.SAFE.zip") as archive:
            name = next(name for name in archive.namelist() if "annotation/s1a-iw2-slc-vh" in name)
            place = archive.getinfo(name).header_offset + 500
        content[place : place + 200] = bytes(200)
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(AnnotationError, match=rf"s1a-iw2-slc-vh-\S+ of {FIRST} is broken"):
            await reader_of(f"{tmp_path}/a.zip").read(scene_named(FIRST), aoi="a")

    async def test_a_bomb_is_not_unpacked(self, tmp_path: Path, annotations: list[AnnotationFile]) -> None:
        write_zip(tmp_path / "a.zip", [AnnotationFile(annotations[0].name, bytes(65 * 2**20))])
        with pytest.raises(AnnotationError, match=r"s1a-iw1\S+ of S1A\S+ has 68157440 bytes"):
            await reader_of(f"{tmp_path}/a.zip").read(scene_named(FIRST), aoi="a")

    async def test_an_empty_member_and_one_that_is_there_twice(self, tmp_path: Path, annotations: list[AnnotationFile]) -> None:
        name = annotations[0].name
        write_zip(tmp_path / "empty.zip", [AnnotationFile(name, b" \n")])
        with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
            archive.writestr(f"a/{name}", b"<product/>")
            archive.writestr(f"b/{name}", b"<product/>")
        for file, why in (("empty", "is empty"), ("twice", "is there twice")):
            with pytest.raises(AnnotationError, match=rf"s1a-iw1-slc-vh-\S+ of {FIRST} {why}"):
                await reader_of(f"{tmp_path}/{file}.zip").read(scene_named(FIRST), aoi="a")

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
            await reader_of(f"{tmp_path}/file").read(scene_named(FIRST), aoi="a")

    async def test_another_scene_is_not_taken_for_this_one(self, pair: Path, tmp_path: Path) -> None:
        shutil.copy(pair / f"{SECOND}.SAFE.zip", tmp_path / f"{FIRST}.zip")
        with pytest.raises(AnnotationError, match=rf"holds no annotation of {FIRST}"):
            await reader_of(f"{tmp_path}/{{SCENE}}.zip").read(scene_named(FIRST), aoi="a")


class TestInOrder:
    async def test_the_first_that_has_them_and_every_error_of_none(
        self, site: Site, files: Path, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        reader = reader_of(f"{tmp_path}/nothing/{{SCENE}}.zip", site.pattern("forbidden"), site.pattern())
        assert await reader.read(scene_named(FIRST), aoi="a") == annotations
        with pytest.raises(AnnotationError) as told:
            await reader.read(scene_named(SECOND), aoi="a")
        for part in (SECOND, f"{tmp_path}/nothing/{SECOND}.zip does not exist", "HTTP 403", "HTTP 404"):
            assert part in str(told.value)

    async def test_a_payloads_own_places_come_first_and_are_kept_apart(
        self, site: Site, files: Path, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        forged = [AnnotationFile(each.name, b"<product/>") for each in annotations]
        write_zip(files / f"forged-{FIRST}.zip", forged)
        reader = reader_of(site.pattern(), storage=tmp_path / "store", allowed=[site.url])
        own = [site.pattern(name="forged-{SCENE}.zip")]
        for _ in range(2):
            assert await reader.read(scene_named(FIRST), aoi="a", more=own) == forged
            assert await reader.read(scene_named(FIRST), aoi="a") == annotations
            count = site.server.count
        assert count == site.server.count <= 6

    async def test_a_broken_cache_is_written_anew(
        self, site: Site, files: Path, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        reader = reader_of(site.pattern(), storage=tmp_path / "store")
        await reader.read(scene_named(FIRST), aoi="a")
        kept = tmp_path / "store" / "annotations" / f"{FIRST}.zip"
        whole = kept.read_bytes()
        for broken in (b"", b"rubbish", whole[:-1000], whole[:1000] + bytes(1000) + whole[2000:]):
            kept.write_bytes(broken)
            assert await reader.read(scene_named(FIRST), aoi="a") == annotations
            assert kept.read_bytes() == whole

    async def test_a_cache_that_cannot_be_written_is_no_obstacle(
        self, site: Site, files: Path, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]
    ) -> None:
        shutil.copy(pair / f"{FIRST}.SAFE.zip", files / f"{FIRST}.zip")
        (tmp_path / "store").write_text("a file where the folder should be")
        assert await reader_of(site.pattern(), storage=tmp_path / "store").read(scene_named(FIRST), aoi="a") == annotations

    async def test_what_lies_on_disk_is_not_copied_to_the_cache(self, pair: Path, tmp_path: Path) -> None:
        await reader_of(str(pair), storage=tmp_path / "store").read(scene_named(FIRST), aoi="a")
        assert not (tmp_path / "store").exists()

    async def test_many_scenes_a_few_at_once_and_the_bad_ones_named(
        self, site: Site, files: Path, pair: Path, annotations: list[AnnotationFile]
    ) -> None:
        for scene in (FIRST, SECOND):
            shutil.copy(pair / f"{scene}.SAFE.zip", files / f"{scene}.zip")
        broken = FIRST[:-4] + "FFFF"
        (files / f"{broken}.zip").write_bytes(b"PK\x03\x04 and nothing more")
        scenes = [scene_named(name) for name in (FIRST, broken, SECOND, "S2A_NO_RADAR", ROME, FIRST, SECOND, FIRST)]
        reader = reader_of(site.pattern("slow"), concurrency=2)
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
        many = reader_of(site.pattern("slow"), concurrency=2).read_many([scene_named(FIRST), *[scene_named(SECOND)] * 50], aoi="a")
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
        reader = reader_of(f"{tmp_path}/{{SCENE}}.zip", allowed=["https://", "s3://"])
        with pytest.raises(UserError, match=why) as told:
            await reader.read(scene_named(FIRST), aoi="a", more=[pattern])
        assert told.value.field == "annotations_urls"
        with pytest.raises(UserError):
            _ = [found async for found in reader.read_many([scene_named(FIRST)], aoi="a", more=[pattern])]

    async def test_a_link_out_of_an_allowed_folder(self, pair: Path, tmp_path: Path, annotations: list[AnnotationFile]) -> None:
        folder = tmp_path / "allowed"
        (folder / f"{FIRST}.SAFE" / "annotation").mkdir(parents=True)
        (folder / f"{SECOND}.zip").symlink_to(pair / f"{SECOND}.SAFE.zip")
        (tmp_path / "outside.xml").write_bytes(b"<product/>")
        (folder / f"{FIRST}.SAFE" / "annotation" / annotations[0].name).symlink_to(tmp_path / "outside.xml")
        reader = reader_of(allowed=[str(folder)])
        for scene in (FIRST, SECOND):
            with pytest.raises(AnnotationError, match="is not below an allowed prefix"):
                await reader.read(scene_named(scene), aoi="a", more=[str(folder)])
        shutil.copy(pair / f"{FIRST}.SAFE.zip", folder / "a.zip")
        assert await reader.read(scene_named(FIRST), aoi="a", more=[str(folder / "a.zip")]) == annotations

    async def test_no_source_at_all(self) -> None:
        with pytest.raises(UserError, match=r"annotations\.urls"):
            await reader_of().read(scene_named(FIRST), aoi="a")

    @pytest.mark.parametrize("url", ["data/{SCENE}.zip", "ftp://example.org/{SCENE}", "/data/{NOTHING}.zip", ""])
    def test_patterns_of_the_configuration(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"annotations\.urls"):
            reader_of(url)
