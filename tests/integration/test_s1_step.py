"""Step `s1_backscatter_coherence` and its graph, on simulated bursts: which files there are, what they hold, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import box, mapping
from simulated_bursts import simulated_series

from common.graph import load_graph
from common.messages import RasterFormat
from processor.sar.burst_layers import encoded
from processor.steps import s1_backscatter_coherence
from thresher.demo.sentinel1.terrain import Terrain


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bursts of two dates, `0.data` and `1.data`, and the file that tells the DEM."""
    found = tmp_path_factory.mktemp("bursts")
    simulated_series(found, replace(Terrain(12.1, 51.62), hills=()), dates=(0, 1))
    dems = {"ground": {"path": str(found / "dem.tif"), "geoid": "ellipsoid"}}
    (found / "sources.json").write_text(json.dumps({"dems": dems}))
    return found


def run(folder: Path, target: Path, current: int, previous: int, **options: str) -> int:
    given = {
        "workdir": target,
        "current": folder / f"{current}.data",
        "previous": folder / f"{previous}.data",
        "reference": folder / "0.data",
        "pattern-out": "20240116_tile_*.tif",
        "sources": folder / "sources.json",
        "projection": "UTM",
        "resolution": "40",
    }
    return s1_backscatter_coherence.main([f"--{name.replace('_', '-')}={value}" for name, value in {**given, **options}.items()])


def layers(folder: Path) -> dict[str, Path]:
    return {path.stem.removeprefix("20240116_tile_"): path for path in sorted(folder.glob("*.tif"))}


def test_the_first_date_has_backscatter_only(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path, 0, 0, layers="sigma0_VV,coh_VV") == 0
    made = layers(tmp_path)
    assert list(made) == ["sigma0_VV"]
    assert cog_validate(made["sigma0_VV"], strict=True)[0]
    with rasterio.open(made["sigma0_VV"]) as raster:
        assert raster.crs.to_epsg() == 32633
        assert (raster.dtypes, raster.nodata, raster.descriptions) == (("float32",), 0.0, ("sigma0_VV",))
        a, b, x, d, e, y = tuple(raster.transform)[:6]
        assert (a, b, d, e, x % 40, y % 40) == (40, 0, 0, -40, 0, 0)
        pixels, tags = raster.read(1, masked=True), raster.tags()
    assert 0.4 < 1 - pixels.mask.mean() < 0.9
    assert tags["ORBIT"] == "annotation"
    assert tags["DEM"] == "dem.tif, heights above ellipsoid"
    assert tags["PRODUCT"] == tags["REFERENCE_PRODUCT"]
    assert 0.001 < np.percentile(pixels.compressed(), 1) < 0.03 < 0.3 < np.percentile(pixels.compressed(), 99)


def test_a_later_date_lies_on_the_first(folder: Path, tmp_path: Path) -> None:
    """As integers, with the phase that CARD_INF adds."""
    options = {"layers": "sigma0_VV,coh_VV", "dformat_out": "uint16,0,0,10000", "card_producttype": "CARD_INF"}
    assert run(folder, tmp_path, 1, 0, **options) == 0
    assert run(folder, tmp_path, 0, 0, **{**options, "pattern-out": "20240116_tile_first_*.tif"}) == 0
    made = layers(tmp_path)
    assert list(made) == ["coh_VV", "first_sigma0_VV", "phase_VV", "sigma0_VV"]
    read = {}
    for layer, path in made.items():
        with rasterio.open(path) as raster:
            read[layer] = raster.read(1, masked=True)
            assert raster.shape == read["coh_VV"].shape
            assert raster.dtypes[0] == ("float32" if layer == "phase_VV" else "uint16")
            if layer == "coh_VV":
                assert raster.tags()["PREVIOUS_PRODUCT"] == raster.tags()["REFERENCE_PRODUCT"] != raster.tags()["PRODUCT"]
    first, second = read["first_sigma0_VV"], read["sigma0_VV"]
    assert np.corrcoef(np.log(first[~first.mask & ~second.mask]), np.log(second[~first.mask & ~second.mask]))[0, 1] > 0.5
    # Towns of coherence 0.9, water of 0.
    assert read["coh_VV"].max() > 9200
    assert read["coh_VV"].min() < 1200
    assert np.abs(read["phase_VV"]).max() <= np.pi


def test_cut_to_an_area(folder: Path, tmp_path: Path) -> None:
    area = box(12.06, 51.55, 12.10, 51.58)
    (tmp_path / "clip.geojson").write_text(json.dumps(mapping(area)))
    assert run(folder, tmp_path, 0, 0, clip="clip.geojson", projection="EPSG:4326") == 0
    with rasterio.open(layers(tmp_path)["sigma0_VV"]) as raster:
        pixel = raster.transform.a
        assert np.allclose(raster.bounds, area.bounds, atol=pixel)
        assert (raster.read(1) != 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "sigma0_VH"}, "FATAL ERROR: layer sigma0_VH: S1A_IW_SLC__1SDV_.* has no polarisation VH: VV"),
        ({"layers": "gamma0_VV"}, "FATAL ERROR: layers: there is no layer 'gamma0_VV'"),
        ({"dem": "other"}, "FATAL ERROR: dem: 'other' is none of the DEMs of the configuration: ground"),
        ({"dem_file": "/etc/passwd"}, "FATAL ERROR: dem_file: no payload names files"),
        ({"projection": "EPSG:9"}, "FATAL ERROR: projection: 'EPSG:9'"),
        ({"resolution": "0"}, "FATAL ERROR: resolution: 0.0 is not a number of metres"),
        ({"resolution": "fine"}, "FATAL ERROR: argument --resolution"),
        ({"coherence_azimuth": "0"}, "FATAL ERROR: argument --coherence-azimuth"),
        ({"img_resampling": "LANCZOS"}, "FATAL ERROR: img_resampling: 'LANCZOS' is none of"),
        ({"reference": "nowhere.data"}, "FATAL ERROR: nowhere.data is no burst product"),
        ({"sources": ""}, "FATAL ERROR: there is no DEM"),
    ],
    ids=["polarisation", "layer", "dem", "file", "crs", "resolution", "text", "window", "resampling", "burst", "sources"],
)
def test_what_cannot_be_meant(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, str], message: str
) -> None:
    try:
        code = run(folder, tmp_path, 0, 0, **options)
    except SystemExit as ended:
        code = ended.code
    assert code == 1
    assert re.search(message, capsys.readouterr().out)
    assert not list(tmp_path.iterdir())


def test_a_dem_that_ends_is_an_error_that_says_where(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Terrain(12.1, 51.62).write_dem(tmp_path / "small.dem", 12.0, 51.5, 12.11, 51.9)
    sources = {"dems": {"default": {"path": str(tmp_path / "small.dem"), "geoid": "ellipsoid"}}}
    (tmp_path / "sources.json").write_text(json.dumps(sources))
    assert run(folder, tmp_path, 0, 0, sources=str(tmp_path / "sources.json")) == 1
    assert "FATAL ERROR: the DEM has no height at 51." in capsys.readouterr().out
    assert not layers(tmp_path)


def test_the_graph_has_the_options_of_the_reference() -> None:
    document = load_graph("library/graph/S1BackscatterCoherence.json", []).document
    options = {
        *("bs_erode_iterations", "coh_erode_iterations", "coherence_azimuth", "coherence_range", "dem_egm_correction", "dem_file"),
        *("dem_name", "dem_nodata", "dem_resampling", "dformat_out", "img_resampling", "bkg_resampling", "projection", "resolution"),
        *("snap_cpu_parallelism", "terrain_correction_azimuth", "terrain_correction_range"),
    }
    assert options <= document.config.keys()
    assert [file.layer for file in document.out_files[0]][:4] == ["sigma0_VV", "sigma0_VH", "coh_VV", "coh_VH"]


@pytest.mark.parametrize(
    ("text", "values", "pixels"),
    [
        ("float32,0,0,1", [np.nan, 0.25, 3.0], [0, 0.25, 3.0]),
        ("uint16,0,0,10000", [np.nan, 0.25, 3.0, 1e-9, 9.0], [0, 2500, 30000, 1, 65535]),
        ("uint8,255,0,200", [np.nan, 0.5, 1.0, 2.0], [255, 100, 200, 254]),
        ("int16,-32768,-1000,1000", [np.nan, 0.0, 1.0], [-32768, -1000, 1000]),
    ],
)
def test_values_become_pixels(text: str, values: list[float], pixels: list[float]) -> None:
    dtype, nodata, low, high = text.split(",")
    written = encoded(
        np.array(values, np.float32), RasterFormat(dtype=dtype, nodata=float(nodata), min_value=float(low), max_value=float(high))
    )
    assert written.dtype == dtype
    assert written.tolist() == pixels
