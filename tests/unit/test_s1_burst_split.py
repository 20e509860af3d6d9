"""The scene step of Sentinel-1: bursts out of a simulated product, sample by sample, and what is no burst."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import FatalError, ThresherError
from processor.sar.annotation import read_annotation
from processor.sar.burst_product import BurstProduct, read_burst_product, read_samples, write_samples
from processor.sar.burst_split import WantedBurst, split_burst
from processor.steps import s1_burst_split
from thresher.demo.sentinel1.bursts import Window
from thresher.demo.sentinel1.passes import product_documents
from thresher.demo.sentinel1.product import Simulation, write_series
from thresher.demo.sentinel1.terrain import Terrain

LINES = 120
PART = Window((10, 110), (300, 700))


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product whose sub-swath IW1 has two short bursts."""
    documents = product_documents(0, lines=LINES)
    simulation = Simulation(Terrain(12.1, 51.6), bursts={"IW1": [0, 1]}, window=PART)
    [folder] = write_series(tmp_path_factory.mktemp("products"), [documents], simulation)
    return folder


def tiff(safe: Path, polarisation: str) -> Path:
    [path] = (safe / "measurement").glob(f"*iw1-slc-{polarisation}-*.tiff")
    return path


def split(safe: Path, folder: Path, tile: str = "A88_IW1_8432", number: int = 2, *polarisations: str) -> BurstProduct:
    split_burst(safe, WantedBurst(tile, "IW1", number, polarisations), folder / "burst.data")
    return read_burst_product(folder / "burst.data")


def test_a_burst_is_its_lines_and_the_whole_annotation(safe: Path, tmp_path: Path) -> None:
    burst = split(safe, tmp_path)
    assert (burst.identity.swath, burst.identity.number, burst.identity.polarisations) == ("IW1", 2, ("VV", "VH"))
    assert burst.identity.product == safe.name.removesuffix(".SAFE")
    assert burst.identity.ipf == "003.91"
    annotation = read_annotation(burst.channels["VV"].annotation)
    assert annotation.bursts[burst.index].azimuth_time == burst.identity.azimuth_time
    for polarisation in ("VV", "VH"):
        samples = burst.read(polarisation)
        assert samples.shape == (LINES, annotation.samples_per_burst)
        assert np.array_equal(samples, read_samples(tiff(safe, polarisation.lower()), LINES, LINES))
        assert np.abs(samples[20:90, 310:690]).mean() > 10
        assert np.array_equal(burst.read(polarisation, slice(30, 40)), samples[30:40])
        assert burst.channels[polarisation].noise is not None


def test_the_time_of_the_tile_decides(safe: Path, tmp_path: Path) -> None:
    """A tile's number may be another one where slices are shifted; its id also says 8404 for the time 8404.5."""
    assert split(safe, tmp_path, "A88_IW1_8404", 2).identity.number == 1


def test_polarisations_can_be_chosen(safe: Path, tmp_path: Path) -> None:
    assert split(safe, tmp_path, "A88_IW1_8432", 2, "VH").identity.polarisations == ("VH",)
    with pytest.raises(FatalError, match="no polarisation HH: it has VH, VV"):
        split_burst(safe, WantedBurst("A88_IW1_8432", "IW1", 2, ("HH",)), tmp_path / "none")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (WantedBurst("A88_IW1_8460", "IW1", 2), "no burst at the time of A88_IW1_8460: its 2 bursts are at 8405, 8432"),
        (WantedBurst("A88_IW4_8405", "IW4", 1), "no annotation of IW4: it has IW1, IW2, IW3"),
        (WantedBurst("scene", "IW1", 3), "has 2 bursts, not a burst 3"),
    ],
    ids=["time", "sub-swath", "number"],
)
def test_a_burst_that_is_not_there(safe: Path, tmp_path: Path, wanted: WantedBurst, message: str) -> None:
    with pytest.raises(FatalError, match=message):
        split_burst(safe, wanted, tmp_path / "none")


def test_a_product_that_is_not_whole(safe: Path, tmp_path: Path) -> None:
    place = tmp_path / safe.name
    (place / "annotation" / "calibration").mkdir(parents=True)
    (place / "measurement").mkdir()
    [annotation] = (safe / "annotation").glob("*iw1-slc-vv-*.xml")
    [calibration] = (safe / "annotation" / "calibration").glob("calibration-*iw1-slc-vv-*.xml")
    (place / "annotation" / annotation.name).write_bytes(annotation.read_bytes())
    (place / "annotation" / "calibration" / calibration.name).write_bytes(calibration.read_bytes())
    with pytest.raises(ThresherError, match=r"is not whole: measurement/s1a-iw1-slc-vv-.*\.tiff is missing"):
        split(place, tmp_path)

    measurement = place / "measurement" / f"{annotation.stem}.tiff"
    write_samples(measurement, read_samples(tiff(safe, "vv"), 0, LINES + 5))
    with pytest.raises(FatalError, match=f"has {LINES + 5} lines of 1800 samples; burst 2 of its annotation needs {2 * LINES} lines"):
        split(place, tmp_path)
    measurement.write_bytes(b"II*\0 not a TIFF")
    with pytest.raises(ThresherError, match="cannot be read"):
        split_burst(place, WantedBurst("A88_IW1_8405", "IW1", 1), tmp_path / "broken")


def test_a_folder_without_its_manifest_is_no_burst(safe: Path, tmp_path: Path) -> None:
    burst = split(safe, tmp_path)
    (burst.folder / "samples_vh.tiff").unlink()
    with pytest.raises(FatalError, match=r"not whole: samples_vh\.tiff is missing"):
        read_burst_product(burst.folder)
    (burst.folder / "burst.json").write_text('{"product": "x"}')
    with pytest.raises(FatalError, match=r"no burst product: burst\.json is not as it should be"):
        read_burst_product(burst.folder)


def test_the_step_takes_the_tile_from_the_name_of_its_file(safe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "20240116_A88_IW1_8405_preprocessed.data"
    arguments = [f"--product={safe}", f"--out={out}", "--swath=IW1", "--number=1", "--polarisations=vv"]
    assert s1_burst_split.main(arguments) == 0
    assert read_burst_product(out).identity.tile == "A88_IW1_8405"
    assert s1_burst_split.main([*arguments[:2], "--swath=IW9", "--number=1"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("FATAL ERROR: ")
