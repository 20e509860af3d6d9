"""The fields extension: only the parts of an item that are asked for."""

from __future__ import annotations

import json
from typing import Any

from catalogue.stac.search import Fields

_ALWAYS = ("id", "collection")
_DEFAULT = ("id", "collection", "type", "stac_version", "geometry", "bbox", "links", "assets", "properties.datetime")
_WHOLE = ("type", "stac_version", "stac_extensions", "id", "collection", "geometry", "bbox", "properties", "links", "assets")


def trimmed(text: str, fields: Fields) -> str:
    """The item of a JSON text, with what `fields` asks for. Id and collection always stay, so that it can be asked for whole."""
    item: dict[str, Any] = json.loads(text)
    include, exclude = [_path(name) for name in fields.include], [_path(name) for name in fields.exclude]
    whole = [_path(name) for name in (_WHOLE if exclude else _DEFAULT)]
    wanted = [*include, *(_path(name) for name in _ALWAYS)] if include else whole
    kept: dict[str, Any] = {}
    for path in wanted:
        _copy(item, kept, path)
    for path in exclude:
        if path not in [_path(name) for name in _ALWAYS] and path not in include:
            _remove(kept, path)
    return json.dumps(kept, allow_nan=False, separators=(",", ":"))


def _path(name: str) -> tuple[str, ...]:
    """`properties.eo:cloud_cover`; a name that is no part of an item is one of its properties."""
    first, _, rest = name.partition(".")
    if first not in _WHOLE:
        return ("properties", name)
    return (first, rest) if rest and first in ("properties", "assets") else (first,)


def _copy(source: dict[str, Any], target: dict[str, Any], path: tuple[str, ...]) -> None:
    first, *rest = path
    if first not in source:
        return
    if not rest:
        target[first] = source[first]
    elif isinstance(source[first], dict) and rest[0] in source[first]:
        inside = target.setdefault(first, {})
        inside[rest[0]] = source[first][rest[0]]


def _remove(document: dict[str, Any], path: tuple[str, ...]) -> None:
    first, *rest = path
    if not rest:
        document.pop(first, None)
    elif isinstance(document.get(first), dict):
        document[first] = {key: value for key, value in document[first].items() if key != rest[0]}
