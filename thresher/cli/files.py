"""Files people give to commands and get from them: payloads (JSON or YAML), scenes and tiles to post, collections to keep."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.features import SceneCollection
from common.payload import Payload, decode, parse_payload
from common.validation import validated

STANDARD = Path("-")
"""Standard input or output."""


@dataclass(frozen=True)
class LoadedPayload:
    """A payload that passed the local checks. `document` is what is sent."""

    source: str
    document: dict[str, Any]
    payload: Payload


def load_payload(path: Path) -> LoadedPayload:
    """The payload of a file (`-`: standard input); raises UserError naming the file and the field."""
    content = read(path)
    try:
        document = decode(content, allow_yaml=True)
        return LoadedPayload(str(path), document, parse_payload(document))
    except UserError as error:
        raise UserError(f"{error} (in {path})" if error.field != "area" else f"{path}: {error.detail}") from None


def load_scenes(path: Path) -> bytes:
    """The text of a file of scenes or tiles, as saved with `-o` and perhaps edited; raises UserError."""
    content = read(path)
    try:
        collection = validated(SceneCollection, json.loads(content))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    except UserError as error:
        raise UserError(f"{error} (in {path})") from None
    if not collection.scenes:
        raise UserError(f"{path}: there is no scene in it")
    return content


def read(path: Path) -> bytes:
    if path == STANDARD:
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write `document`, whole or not at all."""
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if path == STANDARD:
        sys.stdout.write(text)
        return
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", encoding="utf-8", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(text)
            file.close()
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
