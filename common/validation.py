"""From a pydantic error to one sentence a person can act on, naming the field."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from common.errors import UserError

Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 5


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
        path = [str(part) for part in entry["loc"] if not str(part).startswith("function-")]
        field = ".".join([where, *path] if where else path)
        complaints.setdefault(field, entry["msg"].removeprefix("Value error, "))
    (field, message), *others = complaints.items()
    for other_field, other in others[: _SHOWN - 1]:
        message += f"; {other_field}: {other}" if other_field else f"; {other}"
    if len(others) >= _SHOWN:
        message += f"; and {len(others) - _SHOWN + 1} more"
    return UserError(message, field=field or None)
