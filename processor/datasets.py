"""What is reported of a stored layer, so that it can be indexed: its format as the graph tells it, its grid as the file tells it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from common.errors import FatalError
from common.graph import HandledFile
from common.messages import DatasetReport, LayerStatistics, RasterFormat, StoredFile
from processor.rasters import RasterDescription
from processor.statistics import BandStatistics

log = logging.getLogger(__name__)


def dataset_report(
    handled: HandledFile,
    raster: RasterDescription,
    pixels: RasterFormat,
    stored: StoredFile,
    instance_id: str,
    statistics: Sequence[BandStatistics] = (),
) -> DatasetReport:
    """The dataset of a layer's file, with the format that `checked_format` gave.

    Scale and offset tags of the file win over the external range of the graph: they are what its pixels mean.
    """
    file = handled.file
    real_min, real_max = file.ext_min_value, file.ext_max_value
    if raster.has_scaling:
        real_min = raster.scale * pixels.min_value + raster.offset
        real_max = raster.scale * pixels.max_value + raster.offset
    return DatasetReport(
        layer=file.layer,
        tile_id=handled.tile.id,
        instance_id=instance_id,
        file=stored,
        format=pixels,
        real_min=real_min,
        real_max=real_max,
        exponent=file.exponent,
        bands=file.nbands,
        epsg=raster.epsg,
        shape=raster.shape,
        transform=raster.transform,
        footprint_wkt=raster.footprint_wkt,
        statistics=[_statistics(band) for band in statistics],
    )


def checked_format(handled: HandledFile, raster: RasterDescription) -> RasterFormat:
    """The format of a layer to index; raises FatalError where the file has another data type or too few bands."""
    file, pixels = handled.file, handled.format
    if pixels is None:
        raise FatalError(f"the format of layer {file.layer} is not known: its dformat_out cannot be read")
    if pixels.dtype != raster.dtype:
        raise FatalError(f"layer {file.layer} is {raster.dtype}, but the graph says {pixels.dtype} (dformat_out or datatype)")
    if raster.bands < file.nbands:
        raise FatalError(f"layer {file.layer} has {raster.bands} bands, but the graph says {file.nbands} (nbands)")
    if raster.nodata is None or math.isnan(pixels.nodata) or math.isnan(raster.nodata) or raster.nodata == pixels.nodata:
        return pixels
    # The file is what people will read: a no-data value that is not in it would turn gaps into values.
    log.warning("layer %s: no-data value %g of the file, not %g of the graph", file.layer, raster.nodata, pixels.nodata)
    return pixels.model_copy(update={"nodata": raster.nodata})


def _statistics(band: BandStatistics) -> LayerStatistics:
    """What can be written as JSON: figures that are not finite say nothing."""
    figures = {"minimum": band.minimum, "maximum": band.maximum, "mean": band.mean, "stddev": band.stddev}
    finite = {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}
    return LayerStatistics(**finite, valid_percent=band.valid_percent)
