"""Configuration of the steps of graphs: `[graphs]` and `[containers]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from common.section import Section, secret_place

ENGINES = ("cmd", "docker", "python", "snap")
_CAPABILITY = re.compile(rf"(?P<engines>(?:{'|'.join(ENGINES)})(?:-(?:{'|'.join(ENGINES)}))*)(?P<memory>_[a-z][a-z0-9]{{0,15}})?")


def capability(text: str) -> str:
    """A capability as graphs spell it, its engines sorted: `snap-python_large` is `python-snap_large`. Raises ValueError."""
    match = _CAPABILITY.fullmatch(text)
    if match is None:
        raise ValueError(
            f"'{text[:80]}' is no capability: engines ({', '.join(ENGINES)}) joined by '-', then perhaps '_' and a memory class"
        )
    return "-".join(sorted(set(match["engines"].split("-")))) + (match["memory"] or "")


class GraphSettings(Section):
    folders: list[Path] = Field(default_factory=list)
    """Searched, in this order, before the library that comes with the program."""
    step_timeout_s: float = Field(6 * 3600.0, gt=0)
    step_memory_mb: int = Field(0, ge=0)
    """A step that takes more is stopped; 0: as much as there is. For graphs that name no memory class."""
    memory_classes: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,15}$")], Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """What a step of a graph of this `memory_class` may take, in MB."""
    logs: Literal["always", "failure", "never"] = "always"
    """When the whole output of the steps is stored, beside the layers."""
    snap_path: Path | None = None
    """ESA SNAP's `gpt`; default: `$SNAPPATH`, else `/usr/local/snap/bin/gpt`."""
    snap_memory_mb: int = Field(9000, ge=256)
    """Java heap of SNAP."""


class ContainerSettings(Section):
    """Of the `docker` engine."""

    runtime: list[str] = Field(default_factory=lambda: ["docker"], min_length=1)
    """Docker's or podman's command line with its global options."""
    options: list[str] = Field(default_factory=list)
    """Further options of `run`: `--network=none`, `--user=1000:1000`."""
    volumes: list[str] = Field(default_factory=list)
    """Folders that containers may read, under the same path."""
    envs: list[str] = Field(default_factory=list)
    """Names or patterns (`AWS_*`) of variables of the worker that containers get, besides the `envs` of the graph."""
    pull: Literal["missing", "always", "never"] = "missing"
    memory_mb: int = Field(0, ge=0)
    """Of a container, where the graph names no memory class; 0: no limit."""
    cpus: float = Field(0.0, ge=0)
    """Of a container; 0: no limit."""
    registry: str = ""
    """Server whose images need an account."""
    username: str = "_json_key"
    password: str = ""
    """Where the password is: `env:VARIABLE` or `file:/path`; read anew for every step."""

    @field_validator("password")
    @classmethod
    def _is_elsewhere(cls, value: str) -> str:
        return secret_place(value, "password") if value else value

    @field_validator("volumes")
    @classmethod
    def _are_folders(cls, value: list[str]) -> list[str]:
        for volume in value:
            if not volume.startswith("/") or ":" in volume:
                raise ValueError(f"'{volume}' is no absolute path of a folder")
        return value
