"""The radar simulation: geometry against real annotations, documents, speckle of the coherence asked for; configuration and sheet."""

from __future__ import annotations

import io
import tomllib
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import Affine

from common.config import Settings
from thresher.answers import Dataset
from thresher.demo.kinds import RADAR
from thresher.demo.sentinel1.bursts import Window, reflector_pixels, simulated_burst, view_of
from thresher.demo.sentinel1.documents import ImageFacts, annotation_document, calibration_document
from thresher.demo.sentinel1.orbit import LIGHT_M_S, geocentric, geodetic, see, seen_at
from thresher.demo.sentinel1.passes import node_time, product_documents
from thresher.demo.sentinel1.sheet import draw_radar_sheet
from thresher.demo.sentinel1.speckle import interpolated, spectrum_window, white_speckle
from thresher.demo.sentinel1.swath import Swath, read_swath
from thresher.demo.sentinel1.terrain import COVERS, Reflector, Terrain

PAIR = "S1A_IW_SLC__1SDV_20250406T022008_20250406T022035_058630_07421F_93A7"


def swaths(name: str = "IW2", lines: int = 200) -> list[Swath]:
    """A sub-swath on the three dates of the demonstration."""
    return [next(image.swath for image in product_documents(index, lines=lines).images if image.swath.name == name) for index in range(3)]


def test_the_geometry_is_that_of_real_annotations(shared_data: Path) -> None:
    """The grid of an annotation tells, for points on the ground, when and how far away they were: to a microsecond, as it is written."""
    path = shared_data / "s1_slc" / "pair_T108_20250406_20250418" / f"{PAIR}.SAFE.zip"
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        name = next(name for name in archive.namelist() if "annotation/s1a-iw2-slc-vv" in name)
        content = archive.read(name)
    swath = read_swath(content)
    points = ElementTree.fromstring(content).findall("geolocationGrid/geolocationGridPointList/geolocationGridPoint")

    def told(element: str) -> np.ndarray[Any, Any]:
        return np.array([float(point.findtext(element, "")) for point in points])

    times, ranges = seen_at(swath.orbit, geocentric(told("longitude"), told("latitude"), told("height")))
    # The last line of the grid is extrapolated.
    for line, pixel, time, reach in list(zip(told("line"), told("pixel"), times, ranges, strict=True))[:-21]:
        index = int(line) // swath.lines
        found = swath.pixel(swath.bursts[index], time, reach)
        assert found[0] == pytest.approx(line - index * swath.lines, abs=0.002)
        assert found[1] == pytest.approx(pixel, abs=0.001)


def test_what_is_seen_at_a_time_and_range_is_seen_then_and_there() -> None:
    [swath, *_] = swaths()
    lines, samples = np.meshgrid([0.0, 77.0, 199.0], [0.0, 900.0, 1799.0])
    times = swath.time(swath.bursts[1], lines, samples)
    ranges = swath.range_time(samples) * LIGHT_M_S / 2
    points = see(swath.orbit, times, ranges, np.full(lines.shape, 321.0))
    assert np.allclose(geodetic(points)[2], 321.0, atol=1e-6)
    back = seen_at(swath.orbit, points)
    assert np.allclose(back[0], times, atol=1e-9)
    assert np.allclose(back[1], ranges, atol=1e-5)


def test_annotations_say_what_was_simulated() -> None:
    [swath, *_] = swaths()
    facts = ImageFacts("S1A", "VV", 52_135, 1, 2, node_time(0))
    read = read_swath(annotation_document(swath, facts), calibration_document(swath, facts), swath.epoch)
    assert (read.name, read.lines, read.samples, read.bursts) == (swath.name, swath.lines, swath.samples, swath.bursts)
    assert (read.first_range_s, read.range_rate_hz, read.radar_hz, read.line_s) == pytest.approx(
        (swath.first_range_s, swath.range_rate_hz, swath.radar_hz, swath.line_s), rel=1e-14
    )
    assert read.beta_nought == swath.beta_nought
    assert read.bulk_s == pytest.approx(swath.bulk_s, abs=2e-6)
    times = np.linspace(0, 8, 5)
    assert np.allclose(read.orbit.position(times), swath.orbit.position(times), atol=1e-5)


def test_speckle_is_interpolated_as_its_spectrum_says() -> None:
    """To 50 dB, against the shift of its Fourier transform, which is exact."""
    speckle = white_speckle(np.random.default_rng(1), spectrum_window(240, 240, (0.67, 0.88), 0.75))
    assert np.mean(np.abs(speckle) ** 2) == pytest.approx(1, abs=0.03)
    lines, samples = np.meshgrid(np.arange(60, 180) + 0.64, np.arange(60, 180) + 0.3, indexing="ij")
    frequency = np.fft.fftfreq(240)
    exact = np.fft.ifft2(np.fft.fft2(speckle) * np.exp(2j * np.pi * (frequency[:, None] * 0.64 + frequency * 0.3)))[60:180, 60:180]
    assert np.sqrt(np.mean(np.abs(interpolated(speckle, lines, samples) - exact) ** 2)) < 4e-3


def test_pairs_have_the_coherence_and_the_power_of_their_cover() -> None:
    """On the same pixels, where nothing has to be coregistered: date after date keeps its share."""
    [swath, *_] = swaths()
    for cover in COVERS:
        ground = Terrain(12.14, 51.55, parcel_m=0, cover=cover)
        window = Window((30, 170), (400, 1200))
        first, second, third = (pixels for _, _, pixels in simulated_burst([swath, swath, swath], 0, ground, ["VV"], seed=3, window=window))
        assert coherence(first, second) == pytest.approx(cover.coherence, abs=0.015)
        assert coherence(first, third) == pytest.approx(cover.coherence**2, abs=0.015)
        power = np.abs(first / swath.beta_nought) ** 2 / view_of(swath, swath, 0, ground, window).normaliser
        assert np.mean(power) == pytest.approx(cover.backscatter["VV"], rel=0.03)


def test_a_reflector_is_the_brightest_where_it_is_seen_on_every_date() -> None:
    series = swaths()
    # What the first date shows in the middle of the window.
    burst = series[0].bursts[0]
    place = see(
        series[0].orbit,
        series[0].time(burst, np.array(100.3), np.array(800.6)),
        series[0].range_time(np.array(800.6)) * LIGHT_M_S / 2,
        np.array(180.0),
    )
    longitude, latitude, _ = geodetic(place)
    ground = Terrain(float(longitude), float(latitude), hills=(), reflectors=(Reflector(float(longitude), float(latitude), 50.0),))
    seen = [reflector_pixels(swath, swath.bursts[0], ground)[0][:2] for swath in series]
    assert seen[0] == pytest.approx((100.3, 800.6), abs=1e-3)
    for date, _, pixels in simulated_burst(series, 0, ground, ["VV"], seed=1, window=Window((60, 140), (700, 900))):
        line, sample = np.unravel_index(int(np.argmax(np.abs(pixels))), pixels.shape)
        assert (line + 60, sample + 700) == (round(seen[date][0]), round(seen[date][1]))


def coherence(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    return float(np.abs(np.vdot(one, other)) / np.sqrt(np.vdot(one, one).real * np.vdot(other, other).real))


def test_the_configuration_is_one_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / 'a "region" of\\mine'
    read = tomllib.loads(RADAR.configuration("http://127.0.0.1:1", folder))
    settings = Settings.model_validate(read)
    assert settings.dems["default"].path == str(folder / "dem.tif")
    assert settings.providers["demo"].path == str(folder / "products")
    assert settings.annotations.urls == [str(folder / "products" / "{SCENE}.SAFE")]


def layer(folder: Path, tile: str, day: str, variable: str, value: float) -> Dataset:
    path = folder / f"{day}_{tile}_{variable}.tif"
    profile: dict[str, Any] = {"driver": "GTiff", "width": 30, "height": 40, "count": 1, "dtype": "float32", "nodata": 0}
    with rasterio.open(path, "w", **profile, crs="EPSG:32633", transform=Affine(20, 0, 3e5, 0, -20, 5.7e6)) as raster:
        raster.write(np.full((40, 30), value, dtype=np.float32), 1)
    return Dataset.model_validate(
        {
            "id": path.name,
            "record": {"id": day, "name": day, "time": f"{day[:4]}-{day[4:6]}-{day[6:]}T17:25:23Z"},
            "variable": variable,
            "instance": "RNKell",
            "tile": tile,
            "uri": f"file://{path}",
            "size": 1,
            "sha256": "",
            "dtype": "float32",
            "nodata": 0,
            "min_value": 0,
            "max_value": 1,
            "real_min": 0,
            "real_max": 1,
        }
    )


def test_the_sheet_has_a_row_for_each_place(tmp_path: Path) -> None:
    """Tile ids of a place differ by a tenth of a second; a burst without VH has no picture."""
    datasets = []
    for tile, day in (
        ("A88_IW1_8405", "20240116"),
        ("A88_IW1_8404", "20240128"),
        ("A88_IW1_8432", "20240116"),
        ("A88_IW2_8414", "20240116"),
    ):
        datasets.append(layer(tmp_path, tile, day, "BackscatterSigma0VV", 0.1))
        if tile != "A88_IW2_8414":
            datasets.append(layer(tmp_path, tile, day, "BackscatterSigma0VH", 0.02))
    datasets.append(layer(tmp_path, "A88_IW1_8404", "20240128", "CoherenceVV", 0.75))
    assert draw_radar_sheet(datasets, tmp_path / "sheet.png") == (2, 2)
    with Image.open(tmp_path / "sheet.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24) or []}
    # VV of -10 dB and VH of -17 dB; red is the coherence.
    green, blue = round(255 * 10 / 18), round(255 * (28 + 10 * np.log10(0.02)) / 18)
    assert (green, green, green) in colours
    assert any(abs(red - 191) <= 1 and abs(g - green) <= 1 and abs(b - blue) <= 1 for red, g, b in colours)
