"""What clients write in `$filter` and OData does not: words without quotes (`Name eq data-harvest`), `not(` without a blank."""

from __future__ import annotations

import re
from collections.abc import Collection

_PIECES = re.compile(r"('(?:[^']|'')*')")
"""Text in quotes, and what stands between."""
_OPERAND = re.compile(r"(?i)(?<=[\s)])(eq|ne)(\s+)([^\s'(),]+)(?![\s]*\()")
_PLAIN = re.compile(
    r"""(?ix) null|true|false
    | [+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?
    | [\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}
    | \d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?"""
)
"""Operands that mean something without quotes."""
_NOT = re.compile(r"(?i)\bnot\(")


def in_odata(text: str, properties: Collection[str]) -> str:
    """The filter with a word put into quotes that is compared with and is neither a literal nor one of the (lower-case) `properties`."""

    def quoted(match: re.Match[str]) -> str:
        operator, blank, operand = match.groups()
        if _PLAIN.fullmatch(operand) or operand.lower() in properties:
            return match.group()
        return f"{operator}{blank}'{operand}'"

    pieces = _PIECES.split(text.strip())
    # Every other piece is quoted text and stays as it is.
    pieces[::2] = [_NOT.sub("not (", _OPERAND.sub(quoted, piece)) for piece in pieces[::2]]
    return "".join(pieces)
