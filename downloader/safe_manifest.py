"""What the `manifest.safe` of a product lists: its members with sizes and checksums (SAFE, XFDU of CCSDS 661.0-B-1)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from xml.parsers import expat

from downloader.checksums import Checksum, named_checksum

MANIFEST = "manifest.safe"

_DEEPEST = 64
_BESIDES = re.compile(r"(?i)(^|/)(preview|support|html|rep_info)/|\.(html|xsd|pdf|kml|png|css|gif|jpe?g)$")
"""Of no use to any processing: products are known where these differ from their manifest."""


@dataclass(frozen=True)
class Member:
    """A file of a product."""

    path: str
    """Below the folder of the manifest."""
    size: int | None = None
    checksum: Checksum | None = None

    @property
    def is_needed(self) -> bool:
        return not _BESIDES.search(self.path)


def read_manifest(content: bytes) -> list[Member]:
    """The members a manifest lists; ValueError where it is not XML, or has a document type."""
    parser = expat.ParserCreate()
    walk = _Walk()
    parser.StartElementHandler = walk.start
    parser.EndElementHandler = walk.end
    parser.CharacterDataHandler = walk.text
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"it is not XML: {error}") from None
    return walk.members


@dataclass
class _Walk:
    """Collects members while the document is parsed."""

    members: list[Member] = field(default_factory=list)
    _depth: int = 0
    _href: str = ""
    _size: str = ""
    _kind: str = ""
    _digest: str = ""
    _in_checksum: bool = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        match name.rpartition(":")[2]:
            case "byteStream":
                self._href, self._size, self._kind, self._digest = "", attributes.get("size", ""), "", ""
            case "fileLocation":
                self._href = attributes.get("href", "")
            case "checksum":
                self._kind, self._in_checksum = attributes.get("checksumName", ""), True

    def text(self, text: str) -> None:
        if self._in_checksum and len(self._digest) < 1000:
            self._digest += text

    def end(self, name: str) -> None:
        self._depth -= 1
        match name.rpartition(":")[2]:
            case "checksum":
                self._in_checksum = False
            case "byteStream":
                self.members += self._member()

    def _member(self) -> list[Member]:
        path = PurePosixPath(self._href.removeprefix("./"))
        if not self._href or path.is_absolute() or ".." in path.parts or "://" in self._href:
            return []
        size = int(self._size) if self._size.isdecimal() and len(self._size) < 19 else None
        return [Member(str(path), size, named_checksum(self._kind, self._digest))]


def _refuse(*_: object) -> None:
    raise ValueError("it declares a document type: it is not read")
