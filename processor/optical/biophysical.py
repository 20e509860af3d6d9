"""Leaf area index, fAPAR and FCOVER from Sentinel-2 reflectances and angles: the neural networks of SNAP's biophysical processor.

Source: Weiss, Baret, "S2ToolBox Level 2 products: LAI, FAPAR, FCOVER", versions 1.1 (networks 2_1) and 2.0 (networks 3_0), sections 3.1 to
3.3. The numbers in `networks.json` are those of that document.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError

BANDS = ("B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
"""The reflectances, in the order of the network."""

Floats = NDArray[np.floating]


class Variable(StrEnum):
    """What a network finds, with the name its authors give it."""

    LAI = "LAI"
    """Leaf area index of the green leaves: m2/m2, 0 to 8."""
    FAPAR = "FAPAR"
    """Fraction of photosynthetically active radiation that is absorbed: 0 to 0.94."""
    FCOVER = "FCOVER"
    """Fraction of ground that is covered by green leaves, seen from above: 0 to 1."""


class Flag(IntFlag):
    """What is to be known of a value, as SNAP numbers it."""

    INPUT_OUT_OF_RANGE = 1
    """A reflectance lies outside of what the network was trained with."""
    THRESHOLDED_TO_MINIMUM = 2
    """A little below the smallest value: set to it."""
    THRESHOLDED_TO_MAXIMUM = 4
    OUTPUT_TOO_LOW = 8
    """Beyond the tolerance: left as computed."""
    OUTPUT_TOO_HIGH = 16


@dataclass(frozen=True)
class Network:
    """11 inputs, 5 neurons (tanh), one linear output."""

    variable: Variable
    name: str
    input_min: Floats
    """11: the reflectances of `BANDS`, then the cosines of view zenith, sun zenith and relative azimuth."""
    input_max: Floats
    w1: Floats
    """5 x 11."""
    b1: Floats
    w2: Floats
    """5."""
    b2: float
    output_min: float
    output_max: float
    tolerance: float
    valid_min: float
    valid_max: float
    domain_min: Floats
    """8: smallest reflectances that occur in the training data."""
    domain_max: Floats


@dataclass(frozen=True)
class Angles:
    """Cosines of the angles of pixels, arrays of the shape of the bands (or that broadcast to it)."""

    view_zenith: Floats
    sun_zenith: Floats
    relative_azimuth: Floats
    """Of the azimuth of the sun minus that of the view."""


def estimate(reflectances: NDArray[np.floating], angles: Angles, network: Network) -> tuple[Floats, NDArray[np.uint8]]:
    """The variable of the network and its `Flag`, of reflectances (bands of `BANDS` first, any shape behind; NaN where there is no data).

    Values within the tolerance of the valid range are set to its ends. Without data the value is NaN and the flag 0. Error: within 5e-4 of
    the cases its authors publish.
    """
    # Scaling to -1..1 is folded into the weights, so that each input is multiplied once.
    gain = 2 / (network.input_max - network.input_min)
    weights = (network.w1 * gain).astype(reflectances.dtype)
    bias = network.b1 - network.w1 @ (1 + network.input_min * gain)
    total: Floats = np.zeros(reflectances.shape[1:], reflectances.dtype)
    inputs = (*reflectances, angles.view_zenith, angles.sun_zenith, angles.relative_azimuth)
    for neuron in range(len(network.b1)):
        state = np.full(total.shape, bias[neuron], reflectances.dtype)
        for weight, values in zip(weights[neuron], inputs, strict=True):
            state += weight * values
        np.tanh(state, out=state)
        state *= reflectances.dtype.type(network.w2[neuron])
        total += state
    half = (network.output_max - network.output_min) / 2
    total = (total + reflectances.dtype.type(network.b2 + 1)) * reflectances.dtype.type(half) + reflectances.dtype.type(network.output_min)
    return _within_range(total, network, _outside_domain(reflectances, network))


def network(variable: Variable, satellite: str, name: str = "") -> Network:
    """The network of a satellite (`S2A`, `S2B`; any other has none of its own and takes that of S2A), or the one of this name.

    Raises FatalError for an unknown name.
    """
    known = _networks()[variable]
    wanted = name or ("3_0_S2B" if satellite.upper() == "S2B" else "3_0_S2A")
    if wanted not in known:
        raise FatalError(f"there is no network '{wanted[:40]}' for {variable}; known are {', '.join(sorted(known))}")
    return known[wanted]


def satellite_of(scene: str) -> str:
    """`S2A` of a product's name in any of its spellings; empty where the name does not tell."""
    match = re.match(r"S2[A-D](?=_)", scene.upper())
    return match[0] if match else ""


def _outside_domain(reflectances: NDArray[np.floating], network: Network) -> NDArray[np.uint8]:
    outside = np.zeros(reflectances.shape[1:], bool)
    for values, lowest, highest in zip(reflectances, network.domain_min, network.domain_max, strict=True):
        outside |= (values < lowest) | (values > highest)
    return outside.astype(np.uint8) * np.uint8(Flag.INPUT_OUT_OF_RANGE)


def _within_range(values: Floats, network: Network, flags: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.uint8]]:
    low, high = values < network.valid_min, values > network.valid_max
    near_low, near_high = low & (values >= network.valid_min - network.tolerance), high & (values <= network.valid_max + network.tolerance)
    for where, flag in (
        (near_low, Flag.THRESHOLDED_TO_MINIMUM),
        (near_high, Flag.THRESHOLDED_TO_MAXIMUM),
        (low & ~near_low, Flag.OUTPUT_TOO_LOW),
        (high & ~near_high, Flag.OUTPUT_TOO_HIGH),
    ):
        flags[where] |= np.uint8(flag)
    values[near_low] = network.valid_min
    values[near_high] = network.valid_max
    flags[np.isnan(values)] = 0
    return values, flags


@cache
def _networks() -> dict[Variable, dict[str, Network]]:
    document = json.loads((files("processor.optical") / "networks.json").read_text())["networks"]
    return {variable: {name: _network(variable, name, values) for name, values in document[variable].items()} for variable in Variable}


def _network(variable: Variable, name: str, values: dict[str, Any]) -> Network:
    tolerance, valid_min, valid_max = values["extreme_cases_tolerance_min_max"]
    output_min, output_max = values["output_min_max"]
    return Network(
        variable=variable,
        name=name,
        input_min=np.array(values["input_min"]),
        input_max=np.array(values["input_max"]),
        w1=np.array(values["W1"]),
        b1=np.array(values["b1"]),
        w2=np.array(values["w2"]),
        b2=values["b2"],
        output_min=output_min,
        output_max=output_max,
        # Version 2_1 writes the tolerance below zero as -0.2.
        tolerance=abs(tolerance),
        valid_min=valid_min,
        valid_max=valid_max,
        domain_min=np.array(values["domain_min"]),
        domain_max=np.array(values["domain_max"]),
    )
