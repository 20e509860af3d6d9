"""Metadata documents of products: XML read without entities, so that a hostile one can neither expand nor reach out."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, fromstring

from common.errors import FatalError

MAX_BYTES = 64 * 2**20


def read_xml(path: Path) -> Element:
    """The root of an XML document without a document type; raises FatalError."""
    if path.stat().st_size > MAX_BYTES:
        raise FatalError(f"{path.name} is larger than {MAX_BYTES // 2**20} MB")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise FatalError(f"{path.name} declares entities: it is not read")
        return fromstring(text)  # noqa: S314 - no document type, hence no entities
    except (UnicodeDecodeError, ParseError, ValueError) as error:
        raise FatalError(f"{path.name} is not XML: {error}") from None
