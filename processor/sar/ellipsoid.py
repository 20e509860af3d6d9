"""The WGS 84 ellipsoid: between longitude, latitude and height above it, and Earth-centred coordinates.

Source: NIMA TR8350.2, "Department of Defense World Geodetic System 1984", sections 3.2 and 4; the way back is Bowring's (Survey Review 28,
1985), which for heights below 10 km above the ellipsoid errs by less than a micrometre.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAJOR_M = 6378137.0
FLATTENING = 1 / 298.257223563
MINOR_M = MAJOR_M * (1 - FLATTENING)
ECCENTRICITY_2 = FLATTENING * (2 - FLATTENING)
_SECOND_ECCENTRICITY_2 = ECCENTRICITY_2 / (1 - ECCENTRICITY_2)


def ecef(longitude: Floats, latitude: Floats, height: Floats | float = 0.0) -> Floats:
    """Earth-centred, Earth-fixed coordinates in metres, shape (..., 3), of degrees and metres above the ellipsoid (broadcast)."""
    longitude, latitude = np.radians(longitude), np.radians(latitude)
    sine, cosine = np.sin(latitude), np.cos(latitude)
    normal = MAJOR_M / np.sqrt(1 - ECCENTRICITY_2 * sine**2)
    x = (normal + height) * cosine * np.cos(longitude)
    y = (normal + height) * cosine * np.sin(longitude)
    z = (normal * (1 - ECCENTRICITY_2) + height) * sine
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1)


def up(longitude: Floats, latitude: Floats) -> Floats:
    """The outward unit normal of the ellipsoid, shape (..., 3), at degrees: `ecef` is linear in the height along it."""
    longitude, latitude = np.radians(longitude), np.radians(latitude)
    cosine = np.cos(latitude)
    return np.stack(np.broadcast_arrays(cosine * np.cos(longitude), cosine * np.sin(longitude), np.sin(latitude)), axis=-1)


def geodetic(points: Floats) -> tuple[Floats, Floats, Floats]:
    """Longitude and latitude in degrees and height in metres of Earth-centred `points`, shape (..., 3)."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    across = np.hypot(x, y)
    radius = np.hypot(across, z)
    # Bowring's reduced latitude, with the height taken into account.
    reduced = np.arctan2(MINOR_M * z * (1 + _SECOND_ECCENTRICITY_2 * MINOR_M / radius), MAJOR_M * across)
    latitude = np.arctan2(
        z + _SECOND_ECCENTRICITY_2 * MINOR_M * np.sin(reduced) ** 3, across - ECCENTRICITY_2 * MAJOR_M * np.cos(reduced) ** 3
    )
    sine, cosine = np.sin(latitude), np.cos(latitude)
    height = across * cosine + z * sine - MAJOR_M * np.sqrt(1 - ECCENTRICITY_2 * sine**2)
    return np.degrees(np.arctan2(y, x)), np.degrees(latitude), height


def latitude_spacing(metres: float) -> float:
    """Degrees that span `metres` on the equator: what a pixel size in metres means in a geographic CRS."""
    return math.degrees(metres / MAJOR_M)
