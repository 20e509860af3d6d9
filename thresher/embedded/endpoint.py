"""Where an embedded server listens and the secret it asks for: chosen once, kept in a private file of the data directory."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thresher.embedded.process import EmbeddedError, StopPlan, end_predecessors

LOOPBACK = "127.0.0.1"
_given: dict[int, Path | None] = {}
"""Ports this process has handed out, and to whom."""


class Endpoint(BaseModel):
    """A server of ours on loopback."""

    model_config = ConfigDict(frozen=True)

    port: int = Field(ge=1, le=65535)
    secret: str = Field(min_length=16)
    name: str = Field(pattern="^thresher-[0-9a-f]{16}$")
    """Stands in the command line of every process of the server, which tells them from those of others."""


def claimed_endpoint(file: Path, what: str, plan: StopPlan) -> Endpoint:
    """The endpoint kept in `file`, made at the first call. No process of an earlier run is left on it.

    Its port is free now: one that others took meanwhile is replaced. Raises EmbeddedError.
    """
    endpoint = _read(file)
    if endpoint is None:
        endpoint = Endpoint(port=free_port(file), secret=secrets.token_hex(24), name=f"thresher-{secrets.token_hex(8)}")
    else:
        end_predecessors(endpoint.name, what, plan)
        if _given.setdefault(endpoint.port, file) == file and is_free(endpoint.port):
            return endpoint
        endpoint = endpoint.model_copy(update={"port": free_port(file)})
    write_private(file, endpoint.model_dump_json())
    return endpoint


def free_port(owner: Path | None = None) -> int:
    """A port of loopback nothing listens on, never the same twice: who asked first may not listen yet."""
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given[port] = owner
            return port


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: connections of the one before that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def write_private(file: Path, text: str) -> None:
    """Put `text` into `file`, whole or not at all, readable by its owner alone."""
    # mkstemp makes files of mode 0600.
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _read(file: Path) -> Endpoint | None:
    try:
        return Endpoint.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise EmbeddedError(f"{file} is damaged: restore it, it holds the password of the server's data") from error
