"""What people send, checked: whether it can be kept at all, and from a pydantic error to one sentence that names the field."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, ValidationError

from common.errors import UserError

Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 5
_SHOWN_OF_A_KEY = 80
_SHOWN_OF_A_PATH = 16
_MAX_DEPTH = 64
"""Levels of lists and objects in a document: a collection of collections of polygons needs nine."""
_MAX_INTEGER = 2**63 - 1

Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Field(ge=-(2**63), le=_MAX_INTEGER)]
"""As far as the database and the message formats go."""


def validated(model: type[Model], value: object, *, where: str = "") -> Model:
    """`value` as a `model`; raises UserError whose field is a dotted path below `where`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise as_user_error(error, where=where) from None


def as_user_error(error: ValidationError, *, where: str = "") -> UserError:
    """All complaints of `error` in one UserError; its field is that of the first."""
    complaints: dict[str, str] = {}
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        path = [shown_key(part) for part in entry["loc"] if not str(part).startswith("function-")]
        field = ".".join([where, *path] if where else path)
        message = "unknown; the documentation lists what there is" if entry["type"] == "extra_forbidden" else entry["msg"]
        complaints.setdefault(field, message.removeprefix("Value error, "))
    (field, message), *others = complaints.items()
    for other_field, other in others[: _SHOWN - 1]:
        message += f"; {other_field}: {other}" if other_field else f"; {other}"
    if len(others) >= _SHOWN:
        message += f"; and {len(others) - _SHOWN + 1} more"
    return UserError(message, field=field or None)


def check_storable(document: object, *, where: str = "") -> None:
    """Raises UserError, naming the path below `where`, if a decoded JSON document holds what UTF-8, PostgreSQL or JSON cannot: NUL
    characters, half surrogate pairs, numbers that are not finite or longer than 64 bits, or more levels than any document of ours has.
    """
    found = _unstorable(document, 0)
    if found is not None:
        path, reason = found
        path.reverse()
        parts = [*([where] if where else []), *path[:_SHOWN_OF_A_PATH], *(["…"] if len(path) > _SHOWN_OF_A_PATH else [])]
        raise UserError(reason, field=".".join(parts) or None)


def text_trouble(text: str) -> str | None:
    """What keeps `text` from being stored, if anything does."""
    if "\x00" in text:
        return "holds a NUL character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "holds half of a surrogate pair, which is not text"
    return None


def shown_key(key: object) -> str:
    """A key of a document as a part of a field's path: short, and printable."""
    text = str(key)[:_SHOWN_OF_A_KEY]
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _unstorable(value: object, depth: int) -> tuple[list[str], str] | None:
    """The path to the first trouble, innermost first, and a sentence about it."""
    if isinstance(value, str):
        reason = text_trouble(value)
    elif isinstance(value, float):
        reason = None if math.isfinite(value) else "is not a finite number"
    elif isinstance(value, int):
        reason = None if -_MAX_INTEGER <= value <= _MAX_INTEGER else "is a number of more than 64 bits"
    elif isinstance(value, list | dict):
        return ([], f"is nested more than {_MAX_DEPTH} levels deep") if depth == _MAX_DEPTH else _unstorable_member(value, depth + 1)
    else:
        reason = None
    return None if reason is None else ([], reason)


def _unstorable_member(value: list[object] | dict[str, object], depth: int) -> tuple[list[str], str] | None:
    members: Iterable[tuple[object, object]] = enumerate(value) if isinstance(value, list) else value.items()
    for key, member in members:
        if isinstance(key, str) and (reason := text_trouble(key)):
            return [shown_key(key)], f"the name {reason}"
        found = _unstorable(member, depth)
        if found is not None:
            found[0].append(shown_key(key))
            return found
    return None
