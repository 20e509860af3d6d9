"""Formulas over bands: read into a tree of known operations only, then evaluated by numexpr. A formula is data, never code.

Spectral indices by name come from the catalogue of `spyndex` (Montero et al. 2023, "A standardized catalogue of spectral indices to
advance the use of remote sensing in Earth system research", Scientific Data 10, 197); only its table is read.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError

MAX_LENGTH = 1000
MAX_PARTS = 300
"""Operations, names and numbers of a formula."""

_BINARY: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
}
_COMPARE: dict[type[ast.AST], str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_FUNCTIONS = {
    "abs": 1, "sqrt": 1, "exp": 1, "log": 1, "log10": 1, "sin": 1, "cos": 1, "tan": 1, "arctan": 1, "where": 3, "minimum": 2, "maximum": 2,
}  # fmt: skip
_OPERATIONS = "+ - * / ** & |, comparisons, numbers, " + ", ".join(_FUNCTIONS)

SENTINEL2 = {
    "A": "B01", "B": "B02", "G": "B03", "R": "B04", "RE1": "B05", "RE2": "B06", "RE3": "B07", "N": "B08", "N2": "B8A", "WV": "B09",
    "S1": "B11", "S2": "B12",
}  # fmt: skip
"""The catalogue's names of bands as layers."""

LANDSAT = {"A": "B01", "B": "B02", "G": "B03", "R": "B04", "N": "B05", "N2": "B05", "S1": "B06", "S2": "B07", "T1": "B10", "T2": "B11"}


@dataclass(frozen=True)
class Expression:
    """A formula that can be evaluated: only operations that are known, only names of bands."""

    text: str
    """As numexpr reads it, written anew from the tree."""
    layers: tuple[str, ...]
    """The bands it needs."""

    def __call__(self, bands: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Its values for bands (arrays of one shape) by layer, as precise as these are; what is not finite is NaN."""
        import numexpr  # it starts threads, which the process that steps are forked from must not have

        values = numexpr.evaluate(
            self.text, {layer: bands[layer] for layer in self.layers}, {}, sanitize=False, casting="same_kind", truediv=True
        )
        result: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
        return np.where(np.isfinite(result), result, np.nan)


def parse_expression(text: str, names: Mapping[str, str], constants: Mapping[str, float] | None = None) -> Expression:
    """The expression of `text`: a formula, or the name of an index of the catalogue.

    `names` gives the layer of other names of bands (`N` is B08); `constants` goes over the catalogue's. Any other name is taken for a
    layer. Raises FatalError saying what a formula may not hold.
    """
    formula = index_formula(text.strip()) or text
    known = {**default_constants(), **(constants or {})} if formula is not text else dict(constants or {})
    if len(formula) > MAX_LENGTH:
        raise FatalError(f"a formula of {len(formula)} characters is too long: at most {MAX_LENGTH}")
    try:
        tree = ast.parse(formula.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise FatalError(f"'{formula[:80]}' is not a formula") from None
    if sum(1 for _ in ast.walk(tree)) > 3 * MAX_PARTS:
        raise FatalError(f"a formula of more than {MAX_PARTS} parts is too long")
    writer = _Writer(names, known)
    expression = Expression(writer.written(tree.body), tuple(writer.layers))
    if not expression.layers:
        raise FatalError(f"the formula '{formula[:80]}' names no band")
    _try(expression, formula)
    return expression


def index_formula(name: str) -> str | None:
    """The formula of an index of the catalogue (`NDVI`), None where it has none of that name."""
    entry = _catalogue("spectral-indices-dict").get("SpectralIndices", {}).get(name)
    return None if entry is None else str(entry["formula"])


def default_constants() -> dict[str, float]:
    """The constants of the catalogue's formulas that have a default (`L` of SAVI)."""
    return {name: float(entry["default"]) for name, entry in _catalogue("constants").items() if entry.get("default") is not None}


class _Writer:
    """Writes a tree anew, refusing all that is not known to it."""

    def __init__(self, names: Mapping[str, str], constants: Mapping[str, float]) -> None:
        self._names = names
        self._constants = constants
        self.layers: dict[str, None] = {}

    def written(self, node: ast.AST) -> str:
        match node:
            case ast.BinOp(left, operator, right) if type(operator) in _BINARY:
                return f"({self.written(left)} {_BINARY[type(operator)]} {self.written(right)})"
            case ast.UnaryOp(ast.USub() | ast.UAdd() as operator, operand):
                return f"({'-' if isinstance(operator, ast.USub) else '+'}{self.written(operand)})"
            case ast.Compare(left, [operator], [right]) if type(operator) in _COMPARE:
                return f"({self.written(left)} {_COMPARE[type(operator)]} {self.written(right)})"
            case ast.Call(ast.Name(function), arguments, []) if _FUNCTIONS.get(function) == len(arguments):
                return f"{function}({', '.join(self.written(argument) for argument in arguments)})"
            case ast.Constant(bool() | int() | float() as value) if not isinstance(value, bool):
                return _number(value)
            case ast.Name(name):
                return self._name(name)
            case _:
                raise FatalError(f"a formula may not hold '{ast.unparse(node)[:60]}'; it may hold {_OPERATIONS} and names of bands")

    def _name(self, name: str) -> str:
        if name in self._constants:
            return _number(self._constants[name])
        layer = self._names.get(name, name)
        if not layer.isidentifier() or layer.startswith("_") or layer in _FUNCTIONS or len(layer) > 64:
            raise FatalError(f"'{name[:60]}' of the formula is not the name of a band")
        self.layers[layer] = None
        return layer


def _number(value: float) -> str:
    """Always a floating-point one: whole ones of Python have no bounds."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise FatalError("a number of the formula is too large")
    return f"({number!r})"


def _try(expression: Expression, formula: str) -> None:
    """What numexpr cannot evaluate (a sum of truth values, an overflow of constants) is found before any pixel is read."""
    try:
        expression({layer: np.ones(1, np.float32) for layer in expression.layers})
    except (TypeError, ValueError, NotImplementedError, ArithmeticError, RecursionError, MemoryError, KeyError, SyntaxError) as error:
        raise FatalError(f"the formula '{formula[:80]}' cannot be evaluated: {error}") from None


@cache
def _catalogue(table: str) -> dict[str, Any]:
    """A table of the installed catalogue; the package itself is not imported."""
    spec = find_spec("spyndex")
    if spec is None or spec.origin is None:
        return {}
    content: dict[str, Any] = json.loads((Path(spec.origin).parent / "data" / f"{table}.json").read_text())
    return content
