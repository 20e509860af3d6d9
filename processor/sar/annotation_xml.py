"""Reads the XML that comes with Sentinel-1 products (annotations, calibration, noise), with errors that name file and element."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from xml.etree import ElementTree

from common.errors import FatalError

_LONGEST = 200 * 2**20


def read_root(content: bytes, name: str) -> ElementTree.Element:
    """The root element of a document; raises FatalError where it is not well formed, too long, or declares a document type."""
    if len(content) > _LONGEST:
        raise FatalError(f"{name} is too long for an annotation: {len(content)} bytes")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content or b"\x00" in content[:64]:
        raise FatalError(f"{name} declares a document type or is not UTF-8: it is not read")
    try:
        return ElementTree.fromstring(content)  # noqa: S314 - without document type it can declare no entity
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise FatalError(f"{name} is not well formed: {error}") from None


class Section:
    """An element of the file `name`, whose values are asked for by path. Everything raises FatalError for what is missing or no number."""

    def __init__(self, element: ElementTree.Element, name: str) -> None:
        self.element = element
        self.name = name

    def part(self, path: str) -> Section:
        found = self.element.find(path)
        if found is None:
            raise FatalError(f"{self.name} has no {path} in <{self.element.tag}>")
        return Section(found, self.name)

    def elements(self, path: str) -> list[ElementTree.Element]:
        """All at the path; none is no error."""
        return self.element.findall(path)

    def sections(self, path: str) -> list[Section]:
        """As `elements`."""
        return [Section(element, self.name) for element in self.elements(path)]

    def has(self, path: str) -> bool:
        return self.element.find(path) is not None

    def optional(self, path: str) -> str:
        """The text at the path, empty where there is none."""
        return (self.element.findtext(path) or "").strip()

    def text(self, path: str) -> str:
        text = self.optional(path)
        if not text:
            raise FatalError(f"{self.name} has no {path} in <{self.element.tag}>")
        return text

    def number(self, path: str) -> float:
        return self._number(self.text(path), path)

    def numbers(self, path: str) -> tuple[float, ...]:
        """A list separated by spaces."""
        return tuple(self._number(text, path) for text in self.text(path).split())

    def time(self, path: str) -> datetime:
        """UTC, to the microsecond."""
        text = self.text(path)
        try:
            moment = datetime.fromisoformat(text.removeprefix("UTC=").removesuffix("Z"))
        except ValueError:
            raise FatalError(f"{self.name} has {text[:40]!r} as {path} in <{self.element.tag}>: that is no time") from None
        return moment.replace(tzinfo=UTC)

    def _number(self, text: str, path: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise FatalError(f"{self.name} has {text[:40]!r} as {path} in <{self.element.tag}>")
        return value
