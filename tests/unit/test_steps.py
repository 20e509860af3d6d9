"""Steps that work on one raster, as graphs call them: conversion, erosion, Cloud-Optimised GeoTIFFs, DIMAP; each checked independently."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rio_cogeo import cog_validate

from common.errors import FatalError
from common.graph.formats import parse_raster_format
from processor.conversion import converted
from processor.optical.masks import grown, qa_mask, scl_mask

# rasterio's own arithmetic with affine 3
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

TRANSFORM = rasterio.Affine(10, 0, 600_000, 0, -10, 5_700_000)


def run(step: str, *argv: object) -> int:
    """The step in this process, as its pool runs it."""
    code = importlib.import_module(f"processor.steps.{step}").main([str(argument) for argument in argv])
    assert isinstance(code, int)
    return code


def raster(path: Path, pixels: np.ndarray[Any, Any], nodata: float | None = None) -> Path:
    bands = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    profile = {"driver": "GTiff", "dtype": pixels.dtype, "crs": "EPSG:32631", "transform": TRANSFORM, "nodata": nodata}
    with rasterio.open(path, "w", count=bands.shape[0], height=bands.shape[1], width=bands.shape[2], **profile) as dataset:
        dataset.write(bands)
    return path


def read(path: Path) -> tuple[np.ndarray[Any, Any], Any]:
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.profile


def test_convert_is_gdals_scaling(tmp_path: Path) -> None:
    """Against GDAL's own scaling, in a VRT of a ComplexSource."""
    values = np.random.default_rng(1).normal(0.4, 0.5, (300, 400)).astype("float32")
    source, target = raster(tmp_path / "in.tif", values), tmp_path / "out.tif"
    assert run("convert", f"--file-in={source}", f"--file-out={target}", "--range-in=0,1", "--dformat-out=uint8,0,10,250") == 0
    vrt = f"""<VRTDataset rasterXSize="400" rasterYSize="300"><GeoTransform>600000, 10, 0, 5700000, 0, -10</GeoTransform>
      <VRTRasterBand dataType="Byte" band="1"><ComplexSource>
      <SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand><ScaleOffset>10</ScaleOffset><ScaleRatio>240</ScaleRatio>
      </ComplexSource></VRTRasterBand></VRTDataset>"""
    with rasterio.open(vrt) as gdal:
        expected = gdal.read(1)
    pixels, profile = read(target)
    assert (profile["dtype"], profile["nodata"], profile["blockxsize"]) == ("uint8", 0, 256)
    np.testing.assert_array_equal(pixels[0], np.where(expected == 0, 1, expected), "valid pixels are never no-data")


def test_convert_in_place_keeps_gaps(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.5, 1.0, 2.0, np.nan, -9.0]], np.float32)
    path = raster(tmp_path / "file.tif", values, nodata=0.0)
    assert run("convert", f"--file-in={path}", "--range-in=0,1", "--dformat-out=int16,-1,0,1000", "--tiling=64") == 0
    np.testing.assert_array_equal(read(path)[0][0], [[-1, 500, 1000, 2000, -1, -9000]])
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.tif"]


@pytest.mark.parametrize(
    ("values", "wanted", "expected"),
    [
        ([2.5, 3.5, -2.5, 1e9, -1e9], "int16,-32768,0,1", [3, 4, -3, 32767, -32767]),
        ([0.0, 0.2, 254.8, 255.0], "uint8,255,0,1", [0, 0, 254, 254]),
        ([0.0, 0.5, 1.0], "float32,0,0,1", [0.0, 0.5, 1.0]),
    ],
)
def test_rounding_and_clipping(values: list[float], wanted: str, expected: list[float]) -> None:
    np.testing.assert_array_equal(converted(np.array(values), (0, 1), parse_raster_format(wanted), None), expected)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--range-in=1,1", "does not go up"),
        ("--range-in=0", "is not 'low,high'"),
        ("--dformat-out=uint8,0", "'dtype,nodata,min,max' is expected"),
        ("--dformat-out=uint8,300,0,1", "no-data value 300 is no uint8"),
        ("--tiling=100", "multiple of 16"),
        ("--more=1", "unrecognized arguments"),
    ],
)
def test_wrong_options_are_fatal(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str) -> None:
    options = {"--file-in": raster(tmp_path / "in.tif", np.ones((2, 2), np.uint8)), "--range-in": "0,1", "--dformat-out": "uint8,0,0,1"}
    name, _, value = option.partition("=")
    argv = [f"{key}={entry}" for key, entry in {**options, name: value}.items()]
    try:
        code = run("convert", *argv)
    except SystemExit as end:
        code = int(str(end.code))
    output = capsys.readouterr().out
    assert code == 1
    assert output.startswith("FATAL ERROR: ")
    assert message in output


def test_erosion_takes_the_outermost_pixels(tmp_path: Path) -> None:
    """A rhombus with a gap in it, across blocks that are read one by one; a pixel stays if a square of 10 around it lies inside."""
    down, across = (np.abs(values) for values in np.mgrid[-1050:1050, -150:150])
    gap = (down < 20) & (across < 20)
    values = np.where((down / 950 + across / 140 <= 1) & ~gap, 7, 0).astype("float32")
    path = raster(tmp_path / "in.tif", values)
    assert run("erodeMask", f"--file-in={path}", f"--file-out={tmp_path / 'out.tif'}", "--no-data=0", "--iterations=10") == 0
    pixels, profile = read(tmp_path / "out.tif")
    reach = (down + 10) / 950 + (across + 10) / 140
    surely_inside, surely_outside = reach < 0.99, reach > 1.02
    np.testing.assert_array_equal(pixels[0][surely_inside], np.where(gap, 0, 7)[surely_inside])
    assert not pixels[0][surely_outside].any()
    assert profile["nodata"] == 0


def test_erosion_of_nothing_and_to_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = raster(tmp_path / "full.tif", np.ones((50, 60), np.float32))
    assert run("erode_mask", f"--file-in={full}", "--iterations=5") == 0
    assert read(full)[0].all(), "an image that fills its raster has no edge in it"
    values = np.zeros((50, 60), np.float32)
    values[20:26, 20:26] = 1
    small = raster(tmp_path / "small.tif", values)
    assert run("erodeMask", f"--file-in={small}", "--iterations=5") == 1
    assert "FATAL ERROR: small.tif empty" in capsys.readouterr().out
    assert run("erodeMask", f"--file-in={small}", f"--file-out={tmp_path / 'same.tif'}", "--iterations=0") == 0
    assert (tmp_path / "same.tif").read_bytes() == small.read_bytes()


def test_cog_in_another_crs_is_that_of_gdals_driver(tmp_path: Path) -> None:
    source = raster(tmp_path / "in.tif", np.random.default_rng(5).integers(1, 9000, (300, 400)).astype("uint16"), nodata=0)
    argv = [f"--filepath={source}", f"--fileout={tmp_path / 'out.tif'}", "--blocksize=256", "--projection=EPSG:4326"]
    assert run("create_cog", *argv) == 0
    rasterio.shutil.copy(source, tmp_path / "gdal.tif", driver="COG", TARGET_SRS="EPSG:4326", BLOCKSIZE=256)
    (pixels, profile), (expected, other) = read(tmp_path / "out.tif"), read(tmp_path / "gdal.tif")
    assert (profile["crs"], profile["width"], profile["height"]) == (other["crs"], other["width"], other["height"])
    assert profile["transform"].almost_equals(other["transform"], 1e-9)
    np.testing.assert_array_equal(pixels, expected)


def test_cog_of_the_same_pixels(tmp_path: Path) -> None:
    values = np.random.default_rng(5).normal(size=(3, 200, 300)).astype("float32")
    source = raster(tmp_path / "in.tif", values, nodata=np.nan)
    assert run("cog", f"--filepath={source}", f"--fileout={tmp_path / 'out.tif'}") == 0
    pixels, profile = read(tmp_path / "out.tif")
    np.testing.assert_array_equal(pixels, values)
    assert profile["blockxsize"] == 512
    assert run("cog", f"--filepath={source}", f"--fileout={tmp_path / 'x.tif'}", "--projection=/etc/passwd") == 1


def test_fatal_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fatal_error") == 1
    assert capsys.readouterr().out == "FATAL ERROR: test\n"


def test_masks() -> None:
    np.testing.assert_array_equal(scl_mask("9, cirrus")(np.array([0, 4, 9, 10, 3, 77])), [255, 0, 1, 1, 0, 1])
    np.testing.assert_array_equal(qa_mask("cloud,4")(np.array([1, 0, 8, 16, 64, 9], np.uint16)), [255, 0, 1, 1, 0, 255])
    for make in (scl_mask, qa_mask):
        with pytest.raises(FatalError, match="'fog' is no"):
            make("fog")
    mask = np.zeros((9, 11), bool)
    mask[0, 0] = mask[4, 6] = True
    expected = mask.copy()
    expected[:3, :3] = expected[2:7, 4:9] = True
    np.testing.assert_array_equal(grown(mask, 2), expected)
    assert grown(mask, 0) is mask


def dimap(folder: Path, href: str = "IMG_PHR1A_MS_002/DIM_MS.XML", image: str = "MS_R1C1.TIF") -> None:
    """A simulated volume of Pléiades with a panchromatic and a multispectral image."""
    components = ""
    for name, bands, size, resolution in (("P", 1, 80, 0.5), ("MS", 4, 20, 2.0)):
        part = folder / f"IMG_PHR1A_{name}_00{1 if name == 'P' else 2}"
        part.mkdir()
        transform = rasterio.Affine(resolution, 0, 600_000, 0, -resolution, 5_000_000)
        profile = {"driver": "GTiff", "width": size, "height": size, "count": bands, "dtype": "uint16", "crs": "EPSG:32631"}
        with rasterio.open(part / f"{name}_R1C1.TIF", "w", transform=transform, **profile) as dataset:
            dataset.write(np.arange(bands * size * size).reshape(bands, size, size).astype("uint16"))
        (part / f"DIM_{name}.XML").write_text(f"""<Dimap_Document>
 <Metadata_Identification><METADATA_FORMAT version="2.0">DIMAP</METADATA_FORMAT></Metadata_Identification>
 <Coordinate_Reference_System><Projected_CRS><PROJECTED_CRS_CODE>EPSG:32631</PROJECTED_CRS_CODE></Projected_CRS></Coordinate_Reference_System>
 <Processing_Information><Product_Settings><SPECTRAL_PROCESSING>{name}</SPECTRAL_PROCESSING></Product_Settings></Processing_Information>
 <Raster_Data><Data_Access><DATA_FILE_FORMAT>image/tiff</DATA_FILE_FORMAT><Data_Files>
  <Data_File tile_R="1" tile_C="1"><DATA_FILE_PATH href="{image if name == "MS" else "P_R1C1.TIF"}"/></Data_File></Data_Files></Data_Access>
 <Raster_Dimensions><NROWS>{size}</NROWS><NCOLS>{size}</NCOLS><NBANDS>{bands}</NBANDS><Tile_Set><NTILES>1</NTILES><Regular_Tiling>
  <NTILES_SIZE ncols="{size}" nrows="{size}"/><NTILES_COUNT ntiles_C="1" ntiles_R="1"/>
  <OVERLAP_COL>0</OVERLAP_COL><OVERLAP_ROW>0</OVERLAP_ROW>
  </Regular_Tiling></Tile_Set></Raster_Dimensions>
 <Raster_Encoding><DATA_TYPE>INTEGER</DATA_TYPE><NBITS>16</NBITS><SIGN>UNSIGNED</SIGN></Raster_Encoding></Raster_Data></Dimap_Document>""")
        path = "IMG_PHR1A_P_001/DIM_P.XML" if name == "P" else href
        components += f"""<Component><COMPONENT_TITLE>{name}</COMPONENT_TITLE><COMPONENT_TYPE>DIMAP</COMPONENT_TYPE>
          <COMPONENT_PATH href="{path}"/></Component>"""
    (folder / "VOL_PHR.XML").write_text(f"""<Dimap_Document>
 <Metadata_Identification><METADATA_FORMAT version="2.0">DIMAP</METADATA_FORMAT></Metadata_Identification>
 <Dataset_Content><Dataset_Components>{components}</Dataset_Components></Dataset_Content></Dimap_Document>""")


def extract(folder: Path, constellation: str = "PHR") -> int:
    names = ("--file-ms-out=ms.tif", "--file-pan-out=pan.tif")
    return run("extract_dimap", f"--workdir={folder}", *names, f"--constellation={constellation}")


def test_images_of_a_dimap_volume(tmp_path: Path) -> None:
    dimap(tmp_path)
    assert extract(tmp_path) == 0
    for name, shape, resolution in (("pan", (1, 80, 80), 0.5), ("ms", (4, 20, 20), 2.0)):
        pixels, profile = read(tmp_path / f"{name}.tif")
        np.testing.assert_array_equal(pixels, np.arange(np.prod(shape)).reshape(shape))
        assert (profile["crs"].to_epsg(), profile["transform"].a, profile["nodata"]) == (32631, resolution, 0)


@pytest.mark.parametrize("which", ["component", "image", "none"])
def test_a_dimap_volume_must_be_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str) -> None:
    (tmp_path / "product").mkdir()
    dimap(tmp_path / "product", **{"component": {"href": "../../etc/DIM_X.XML"}, "image": {"image": "/etc/hostname"}, "none": {}}[which])
    assert extract(tmp_path / "product", "SPOT" if which == "none" else "PHR") == 1
    expected = "there is no SPOT_VOL.XML" if which == "none" else "which is not a file of the product"
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("name", ["convert", "create_cog", "erodeMask", "extract_dimap", "extract_s2", "fatal_error"])
def test_steps_of_the_reference_are_there(name: str) -> None:
    assert callable(importlib.import_module(f"processor.steps.{name}").main)


@pytest.mark.parametrize(("step", "program", "variable"), [("sen2cor", "L2A_Process", "SEN2COR_HOME"), ("maja", "maja", "MAJA_HOME")])
def test_programs_of_others_are_refused_where_they_are_absent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, step: str, program: str, variable: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    assert run(step, f"--workdir={tmp_path}", "--pattern-out=x_*.tif") == 1
    assert f"FATAL ERROR: {program} is not installed here: it is not in {tmp_path} ({variable})" in capsys.readouterr().out
