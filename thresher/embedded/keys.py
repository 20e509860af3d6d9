"""Keys and the demonstration's user of an embedded stack: made once, kept in private files of the data directory."""

from __future__ import annotations

import base64
import os
import secrets
import uuid
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from thresher.embedded.endpoint import write_private
from thresher.embedded.process import EmbeddedError

_USER = "user.json"


class DemoUser(BaseModel):
    """Who may log in to a stack that was started with `--demo-auth`."""

    model_config = ConfigDict(frozen=True)

    username: str
    password: str
    subject: str


def sealing_keys(data_dir: Path) -> Path:
    """The file of the keys that secrets of orders are sealed with; made if need be, never replaced."""
    file = data_dir / "secrets.keys"
    if not file.exists():
        write_private(file, base64.urlsafe_b64encode(os.urandom(32)).decode() + "\n")
    return file


def demo_user(folder: Path) -> DemoUser:
    """The user kept in `folder`, made if need be. Raises EmbeddedError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / _USER
    if not file.exists():
        user = DemoUser(username="demo", password=secrets.token_urlsafe(15), subject=str(uuid.uuid4()))
        write_private(file, user.model_dump_json())
    try:
        return DemoUser.model_validate_json(file.read_bytes())
    except ValidationError:
        raise EmbeddedError(f"{file} is damaged: delete it to have another user made") from None
