"""Orbit files: which one is chosen, what is read of real ones, and how they come from a service."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from common.errors import FatalError, TemporaryError, ThresherError
from processor.sar.orbit_files import best_of, find_orbit_file, named_in, parse_name, read_orbit_file
from processor.sar.orbit_service import fetch_orbit_file

PASS = datetime(2023, 10, 13, 5, 30, tzinfo=UTC)
AFTER = PASS + timedelta(seconds=27)
EARLY = "S1A_OPER_AUX_POEORB_OPOD_20231102T080652_V20231012T225942_20231014T005942.EOF"
LATER = "S1A_OPER_AUX_POEORB_OPOD_20231103T080652_V20231012T225942_20231014T005942.EOF"
RESTITUTED = "S1A_OPER_AUX_RESORB_OPOD_20231113T095000_V20231013T030000_20231013T070000.EOF"
OTHER_DAY = "S1A_OPER_AUX_POEORB_OPOD_20231103T080652_V20231013T225942_20231015T005942.EOF"
OTHER_SATELLITE = "S1B_OPER_AUX_POEORB_OPOD_20231103T080652_V20231012T225942_20231014T005942.EOF"


def test_the_name_says_all() -> None:
    file = parse_name(EARLY + ".gz")
    assert file is not None
    assert (file.mission, file.kind, file.title) == ("S1A", "POEORB", EARLY)
    assert (file.start, file.stop) == (datetime(2023, 10, 12, 22, 59, 42, tzinfo=UTC), datetime(2023, 10, 14, 0, 59, 42, tzinfo=UTC))
    assert parse_name("S1A_OPER_AUX_PREORB_OPOD_20231102T080652_V20231012T225942_20231014T005942.EOF") is None
    assert parse_name(EARLY + ".exe") is None


@pytest.mark.parametrize(
    ("names", "best"),
    [
        ([EARLY, RESTITUTED], EARLY),
        ([EARLY, LATER], LATER),
        ([RESTITUTED, OTHER_DAY, OTHER_SATELLITE], RESTITUTED),
        ([OTHER_DAY, OTHER_SATELLITE], None),
        ([], None),
    ],
    ids=["precise-first", "made-last", "only-restituted", "none-serves", "none"],
)
def test_the_best_is_chosen(tmp_path: Path, names: list[str], best: str | None) -> None:
    (tmp_path / "2023" / "10").mkdir(parents=True)
    for name in names:
        (tmp_path / "2023" / "10" / name).touch()
    found = find_orbit_file(tmp_path, "S1A", PASS, AFTER)
    assert (found.name if found else None) == best


def test_an_image_at_the_end_of_validity_is_not_served() -> None:
    file = parse_name(RESTITUTED)
    assert file is not None
    assert best_of([file], "S1A", file.stop - timedelta(seconds=90), file.stop - timedelta(seconds=65)) == [file]
    assert best_of([file], "S1A", file.stop - timedelta(seconds=80), file.stop - timedelta(seconds=55)) == []


def test_real_precise_orbit(shared_data: Path) -> None:
    path = find_orbit_file(shared_data / "s1_orbits", "S1A", PASS, AFTER)
    assert path is not None
    assert path.name == EARLY + ".gz"
    orbit = read_orbit_file(path, "S1A", PASS, AFTER)
    assert orbit.source == EARLY
    assert 14 <= orbit.times.size <= 16, "ten seconds apart, a minute on both sides"
    assert 7.06e6 < np.linalg.norm(orbit.positions, axis=1).min() < 7.10e6
    assert np.linalg.norm(orbit.velocities, axis=1) == pytest.approx(7590, abs=30)
    polynomial = orbit.polynomial(PASS, AFTER)
    inside = (orbit.times > orbit.seconds(PASS)) & (orbit.times < orbit.seconds(AFTER))
    assert np.abs(polynomial.position(orbit.times[inside]) - orbit.positions[inside]).max() < 1e-3
    assert np.abs(polynomial.velocity(orbit.times[inside]) - orbit.velocities[inside]).max() < 1e-4


def test_two_real_restituted_orbits_agree(shared_data: Path) -> None:
    start = datetime(2023, 8, 23, 15, 0, tzinfo=UTC)
    first, second = (
        read_orbit_file(path, "S1A", start, start + timedelta(seconds=30)).polynomial(start, start + timedelta(seconds=30))
        for path in sorted((shared_data / "s1_orbits").glob("*RESORB*"))
    )
    seconds = np.arange(0, 30, 1.0)
    apart = first.position(first.seconds(start) + seconds) - second.position(second.seconds(start) + seconds)
    assert 0 < np.abs(apart).max() < 0.1, "RESORB is good to 10 cm"


def test_the_same_orbit_packed_in_other_ways(shared_data: Path, tmp_path: Path) -> None:
    packed = next((shared_data / "s1_orbits").glob("*20230823T162050*"))
    start, stop = datetime(2023, 8, 23, 13, 0, tzinfo=UTC), datetime(2023, 8, 23, 13, 0, 27, tzinfo=UTC)
    plain = tmp_path / packed.name.removesuffix(".gz")
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    zipped = tmp_path / (plain.name + ".zip")
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(plain, f"folder/{plain.name}")
    expected = read_orbit_file(packed, "S1A", start, stop)
    for path in (plain, zipped):
        orbit = read_orbit_file(path, "S1A", start, stop)
        assert orbit.source == expected.source
        np.testing.assert_array_equal(orbit.positions, expected.positions)


def test_what_does_not_fit_is_refused(shared_data: Path, tmp_path: Path) -> None:
    packed = next((shared_data / "s1_orbits").glob("*20230823T162050*"))
    start = datetime(2023, 8, 23, 13, 0, tzinfo=UTC)
    with pytest.raises(FatalError, match="Sentinel-1A, not of S1B"):
        read_orbit_file(packed, "S1B", start, start)
    with pytest.raises(FatalError, match="no state vectors for 2023-08-24"):
        read_orbit_file(packed, "S1A", start + timedelta(days=1), start + timedelta(days=1))
    text = gzip.decompress(packed.read_bytes())
    for old, new, match in (
        (b"EARTH_FIXED", b"EARTH_INERTIAL", "EARTH_INERTIAL"),
        (b"</X>", b" east</X>", "east' as X in <OSV>"),
        (b"NOMINAL", b"DEGRADED", "no state vectors"),
        (b"</OSV>", b"</OSW>", "not well formed"),
    ):
        broken = tmp_path / packed.name.removesuffix(".gz")
        broken.write_bytes(text.replace(old, new))
        with pytest.raises(FatalError, match=match):
            read_orbit_file(broken, "S1A", start, start)
    cut = tmp_path / packed.name
    cut.write_bytes(packed.read_bytes()[:5000])
    with pytest.raises(ThresherError, match="cannot be unpacked"):
        read_orbit_file(cut, "S1A", start, start)


class Service(NamedTuple):
    url: str
    folder: Path
    asked: list[str]

    @property
    def listing(self) -> str:
        return self.url + "{KIND}/{MISSION}/{YEAR}/{MONTH}/"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A server of folders that lists names in HTML."""
    folder, asked = tmp_path / "server", []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if request.path.startswith("/busy/"):
            return web.Response(status=503)
        path = folder / request.match_info["path"]
        if path.is_dir():
            rows = "".join(f'<a href="{name.name}">{name.name}</a>' for name in sorted(path.iterdir()))
            return web.Response(text=f"<html>{rows}</html>", content_type="text/html")
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    yield Service(str(server.make_url("/")), folder, asked)
    await server.close()


async def test_orbits_of_a_service(service: Service, shared_data: Path, tmp_path: Path) -> None:
    there = service.folder / "POEORB" / "S1A" / "2023" / "10"
    there.mkdir(parents=True)
    shutil.copy(shared_data / "s1_orbits" / (EARLY + ".gz"), there)
    (there / OTHER_DAY).touch()
    kept = tmp_path / "orbits"
    path = await fetch_orbit_file(kept, "S1A", PASS, AFTER, listing=service.listing)
    assert path == kept / (EARLY + ".gz")
    assert path.read_bytes() == (there / path.name).read_bytes()
    assert [each.name for each in kept.iterdir()] == [path.name], "nothing half-written stays"
    asked = len(service.asked)
    assert await fetch_orbit_file(kept, "S1A", PASS, AFTER, listing=service.listing) == path
    assert len(service.asked) == asked, "it is fetched once"


async def test_restituted_until_there_is_a_precise_one(service: Service, tmp_path: Path) -> None:
    there, kept = service.folder / "RESORB" / "S1A" / "2023" / "10", tmp_path / "orbits"
    assert await fetch_orbit_file(kept, "S1A", PASS, AFTER, listing=service.listing) is None
    there.mkdir(parents=True)
    (there / RESTITUTED).write_text("<orbit/>")
    assert await fetch_orbit_file(kept, "S1A", PASS, AFTER, listing=service.listing) == kept / RESTITUTED
    assert await fetch_orbit_file(kept, "S1A", PASS, AFTER, listing=service.url + "busy/") == kept / RESTITUTED
    precise = service.folder / "POEORB" / "S1A" / "2023" / "11"
    precise.mkdir(parents=True)
    (precise / EARLY).write_text("<orbit/>")
    assert await fetch_orbit_file(kept, "S1A", PASS, AFTER, listing=service.listing) == kept / EARLY, "found by when it was made"


async def test_a_listing_apart_from_the_files(service: Service, tmp_path: Path) -> None:
    (service.folder / "list").mkdir(parents=True)
    (service.folder / "list" / f"AUX_POEORB {LATER}").touch()
    (service.folder / LATER).write_text("<orbit/>")
    found = await fetch_orbit_file(tmp_path / "orbits", "S1A", PASS, AFTER, listing=service.url + "list", file=service.url + "{NAME}")
    assert found == tmp_path / "orbits" / LATER


async def test_a_service_that_fails_passes(service: Service, tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="answers 503"):
        await fetch_orbit_file(tmp_path / "orbits", "S1A", PASS, AFTER, listing=service.url + "busy/")
    with pytest.raises(TemporaryError, match="does not answer"):
        await fetch_orbit_file(tmp_path / "orbits", "S1A", PASS, AFTER, listing="http://127.0.0.1:9/")


def test_names_in_the_listing_of_a_bucket() -> None:
    text = f"<Contents><Key>AUX_POEORB/{EARLY}</Key></Contents><Contents><Key>AUX_RESORB/{RESTITUTED}</Key></Contents>"
    assert [file.name for file in named_in(text)] == [EARLY, RESTITUTED]
