"""ESA's burst ids: the number of a place on the ground that every repeat of a burst shares; and relative orbits.

Source: "Sentinel-1 Burst ID Map" (ESA/CLS, 2022). Times are counted from the ascending node of relative orbit 1; the 175 orbits of a
repeat cycle are cut into beams of 2.758273 s, and a burst belongs to the beam in which the middle burst (IW2) of its burst cycle has
its middle. All three bursts of a burst cycle share one number, so a place is a number and a sub-swath.
"""

from __future__ import annotations

import math

BEAM_S = 2.758273
"""T_beam: one burst cycle of the IW mode."""
PREAMBLE_S = 2.299849
"""T_pre."""
ORBITS = 175
CYCLE_S = 12 * 24 * 3600
ORBIT_S = CYCLE_S / ORBITS
"""T_orbit: nominal."""
MOST = math.floor(CYCLE_S / BEAM_S) + 1
"""No id is larger."""

_TO_MIDDLE_S = {"IW1": 0.832 + 1.078 / 2, "IW2": 1.078 / 2, "IW3": -1.078 / 2}
"""From the first pulse of a burst to the middle of the IW2 burst of its burst cycle; constants of the IW timeline."""
_LEAD_S = {"IW1": 1.133, "IW2": 1.020, "IW3": 1.140}
"""From the zero-Doppler time of a burst's first line to its first pulse, within 0.02 s from 2015 to 2025."""

_S1C_MOVED = 8018
"""Last absolute orbit of S1C before it was moved in June 2026."""


def relative_orbit(mission: str, absolute_orbit: int) -> int | None:
    """1 to 175, of `S1A` to `S1D` in their nominal orbits; None for another mission.

    Source: Copernicus SentiWiki, "S1 Products", SAR naming convention.
    """
    offset = {"S1A": 73, "S1B": 27, "S1C": 172 if absolute_orbit <= _S1C_MOVED else 99, "S1D": 42}.get(mission)
    return None if offset is None else (absolute_orbit - offset) % ORBITS + 1


def burst_id(swath: str, orbit: int, anx_time_s: float) -> int | None:
    """The id of a burst of IW1, IW2 or IW3 in a relative orbit; None for other modes, whose timelines differ.

    `anx_time_s`: zero-Doppler time of the first line after the ascending node of that orbit; more than an orbit once the next node is
    passed. The middle lies within 0.02 of the middle of its beam, so that neither the spread of the constants nor that of real orbits
    brings it near the next one.
    """
    if swath not in _TO_MIDDLE_S:
        return None
    middle = anx_time_s + _LEAD_S[swath] + _TO_MIDDLE_S[swath] + (orbit - 1) * ORBIT_S - PREAMBLE_S
    return 1 + math.floor(middle % CYCLE_S / BEAM_S)


def place_of(number: int, swath: str) -> str:
    """The key of a place: `{relative orbit}_{id}_{swath}`.

    The orbit is that of the id itself, so that a place on a node has one key, whichever orbit its scene counts from.
    """
    orbit = math.floor(((number - 0.5) * BEAM_S + PREAMBLE_S) / ORBIT_S) % ORBITS + 1
    return f"{orbit}_{number}_{swath}"
