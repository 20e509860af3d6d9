"""The query options of a list: `$filter`, `$orderby`, `$top`, `$skip`, `$count`, `$expand`, and the link to what comes next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from multidict import MultiMapping

from catalogue.hook.odata.filters import Condition, Properties, compile_filter
from common.errors import UserError
from common.validation import text_trouble

MOST = 1000
"""Entries of a page."""
DEFAULT = 100
_MOST_SKIPPED = 2**31 - 1
_KNOWN = ("$filter", "$orderby", "$top", "$skip", "$count", "$expand", "$format", "$select")


@dataclass(frozen=True)
class ListQuery:
    """What is asked of a list."""

    condition: Condition
    order: str
    """After ORDER BY."""
    top: int = DEFAULT
    skip: int = 0
    count: bool = False
    expand: frozenset[str] = frozenset()
    given: Mapping[str, str] = field(default_factory=dict)

    def next_link(self, url: str) -> str:
        """`url` (without query) with the options of the next page."""
        options = {**self.given, "$top": str(self.top), "$skip": str(self.skip + self.top)}
        return url + "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())


def read_query(
    query: MultiMapping[str], properties: Properties, *, default_order: str, expandable: Collection[str] = (), first: int = 1
) -> ListQuery:
    """The options of a URL. `first` is the number of the first parameter of the condition. Raises UserError naming the option."""
    given = _options(query)
    top = _number(given, "$top", DEFAULT, MOST)
    condition = compile_filter(given["$filter"], properties, first=first) if given.get("$filter", "").strip() else Condition("TRUE")
    return ListQuery(
        condition,
        _order(given.get("$orderby", ""), properties, default_order),
        top,
        _number(given, "$skip", 0, _MOST_SKIPPED),
        _boolean(given, "$count"),
        _expand(given.get("$expand", ""), expandable),
        given,
    )


def _options(query: MultiMapping[str]) -> dict[str, str]:
    """Options as OData names them; without `$`, or in another case, they are known, too. What has nothing to do with OData is left out."""
    found: dict[str, str] = {}
    for key, value in query.items():
        name = key.lower() if key.startswith("$") else f"${key.lower()}"
        if name not in _KNOWN:
            if key.startswith("$"):
                raise UserError(f"is not supported; these are: {', '.join(_KNOWN[:6])}", field=key[:40])
            continue
        if name in found:
            raise UserError("stands twice", field=name)
        if (trouble := text_trouble(value)) is not None:
            raise UserError(trouble, field=name)
        found[name] = value
    return found


def _number(given: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = given.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > most:
        raise UserError(f"'{text[:40]}' is not a number from 0 to {most}", field=name)
    return int(text)


def _boolean(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name, "false").strip().lower()
    if text not in ("true", "false"):
        raise UserError(f"'{text[:40]}' is neither true nor false", field=name)
    return text == "true"


def _order(text: str, properties: Properties, default: str) -> str:
    """`Id asc, Name desc` in SQL; the default order decides among equals."""
    keys: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, direction = part.partition(" ")
        found = properties.get(name.lower())
        if found is None:
            raise UserError(f"there is no property '{name[:80]}'", field="$orderby")
        word = direction.strip().lower() or "asc"
        if word not in ("asc", "desc"):
            raise UserError(f"'{direction.strip()[:40]}' is neither asc nor desc", field="$orderby")
        keys.append(f"{found.sql} {word.upper()} NULLS LAST")
    if len(keys) > len(properties):
        raise UserError("names more properties than there are", field="$orderby")
    return ", ".join([*keys, default])


def _expand(text: str, known: Collection[str]) -> frozenset[str]:
    names = {name.lower(): name for name in known}
    asked = [part.strip() for part in text.split(",") if part.strip()]
    unknown = next((part for part in asked if part.lower() not in names), None)
    if unknown is not None:
        raise UserError(f"'{unknown[:80]}' cannot be expanded{_listed(known)}", field="$expand")
    return frozenset(names[part.lower()] for part in asked)


def _listed(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"; this can: {listed}" if listed else ""
