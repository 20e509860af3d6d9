"""The `dformat_out` text of a graph: `dtype,nodata,min,max`."""

from __future__ import annotations

import math

from common.messages import RasterFormat

_DTYPES = {
    name: dtype
    for dtype, names in {
        "uint8": ("uint8", "byte", "u1"),
        "uint16": ("uint16", "u2"),
        "uint32": ("uint32", "u4"),
        "int16": ("int16", "i2"),
        "int32": ("int32", "i4"),
        "float32": ("float32", "f4"),
        "float64": ("float64", "f8"),
        "complex64": ("complex64", "c4"),
    }.items()
    for name in names
}


def parse_raster_format(text: str) -> RasterFormat:
    """The format `text` stands for (`uint16,0,0,10000`; no-data may be NaN); raises ValueError saying what is wrong."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4:
        raise ValueError(f"'{text[:80]}' is not a format: 'dtype,nodata,min,max' is expected, such as 'uint16,0,0,10000'")
    dtype = parse_dtype(parts[0])
    numbers = []
    for name, part in zip(("nodata", "min", "max"), parts[1:], strict=True):
        try:
            numbers.append(float(part))
        except ValueError:
            raise ValueError(f"{name} '{part[:40]}' of '{text[:80]}' is not a number") from None
    nodata, minimum, maximum = numbers
    return raster_format(dtype, nodata, minimum, maximum)


def raster_format(dtype: str, nodata: float, minimum: float, maximum: float) -> RasterFormat:
    """A format whose range makes sense; raises ValueError."""
    if not (math.isfinite(minimum) and math.isfinite(maximum) and minimum < maximum):
        raise ValueError(f"the range of valid values {minimum:g}..{maximum:g} must go up between finite numbers")
    return RasterFormat(dtype=dtype, nodata=nodata, min_value=minimum, max_value=maximum)


def parse_dtype(text: str) -> str:
    """The NumPy name of a data type in any of its spellings; raises ValueError."""
    dtype = _DTYPES.get(text.lower())
    if dtype is None:
        raise ValueError(f"data type '{text[:40]}' is not one of {', '.join(sorted(_DTYPES))}")
    return dtype
