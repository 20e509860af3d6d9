"""One XML document that holds all annotations of a scene: manifest and metadata together, as the burst service of ASF writes them.

Below `burst/metadata` every `product` element names its file in `source_filename` and carries the annotation's elements in `content`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

from catalogue.sentinel1.annotations.files import AnnotationError, AnnotationFile, Collection, SceneName

_PRODUCT = ["burst", "metadata", "product"]
_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n<product>'
_DEEPEST = 64


def is_document(content: bytes) -> bool:
    """Whether it may be XML, by its beginning."""
    return content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"


def read_document(content: bytes, scene: SceneName, where: str) -> list[AnnotationFile]:
    """The annotations of `scene` in the document: each with its own bytes below a new root.

    Raises AnnotationError for a document that is not well formed, has a document type, or holds no annotation of the scene.
    """
    parts = _parts(content, where)
    if not parts:
        raise AnnotationError(f"{where} is an XML document without burst/metadata/product: it holds no annotation of {scene.text}")
    collection = Collection(scene, where)
    for part in parts:
        if scene.holds(part.name):
            collection.reserve(part.name, part.stop - part.start)
            inner = content[part.start : part.stop]
            collection.put(part.name, _HEAD + inner + b"</product>\n" if inner.strip() else b"")
    return collection.files()


@dataclass
class _Part:
    """Where the content of one annotation lies in the document, in bytes."""

    name: str
    start: int = 0
    stop: int = 0


@dataclass
class _Walk:
    """Notes the places of the annotations while the document is parsed."""

    parser: expat.XMLParserType
    content: bytes
    where: str
    path: list[str] = field(default_factory=list)
    parts: list[_Part] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.path.append(name)
        depth = len(self.path)
        if depth > _DEEPEST:
            raise AnnotationError(f"{self.where} is nested too deeply")
        if depth == 3 and self.path == _PRODUCT:
            self.parts.append(_Part(attributes.get("source_filename", "")))
        elif depth == 4 and name == "content" and self.path[:3] == _PRODUCT:
            self.parts[-1].start = self.content.index(b">", self.parser.CurrentByteIndex) + 1

    def end(self, name: str) -> None:
        if len(self.path) == 4 and name == "content" and self.path[:3] == _PRODUCT:
            part = self.parts[-1]
            part.stop = max(part.start, self.parser.CurrentByteIndex)
        self.path.pop()

    def doctype(self, *_: object) -> None:
        raise AnnotationError(f"{self.where} declares a document type: it is not read")


def _parts(content: bytes, where: str) -> list[_Part]:
    # The encoding is fixed: places are counted in the bytes as they are.
    parser = expat.ParserCreate("utf-8")
    walk = _Walk(parser, content, where)
    parser.StartElementHandler = walk.start
    parser.EndElementHandler = walk.end
    parser.StartDoctypeDeclHandler = walk.doctype
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise AnnotationError(f"{where} is not XML: {error}") from None
    return walk.parts
