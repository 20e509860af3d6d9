"""Workflows as they are declared: one YAML file each, those that come with the program and those of the graph folders."""

from __future__ import annotations

import logging
import re
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from catalogue.cube.variables import VariableSpec
from common.errors import ConfigurationError, UserError
from common.graph.hooks import SUFFIX
from common.payload import ScalarText
from common.validation import validated

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_MAX_BYTES = 2**18
_FIRST_OWN = 1000
"""Numbers of people's own workflows begin here."""
_NAMESPACE = uuid.UUID("6f0a2c53-6d0b-5f0e-9c0b-6f2b8d1f4a77")
"""Of the `Uuid` of workflows: the same for a name in every deployment."""


class SourceKind(StrEnum):
    """How the identifiers of an order become scenes."""

    PRODUCT = "product"
    """A product of that name, in the source of the order or in a configured catalogue."""
    PAIR = "pair"
    """That product, and the one of the same place and orbit that is nearest in time within option `timespan` days."""
    SERIES = "series"
    """The products of the same place within `timespan` days up to the identifier or option `timeseries_end_id`."""
    FILES = "files"
    """The files below option `input_s3_path`; the identifier does not matter."""
    NONE = "none"
    """No product: one scene that stands for the item."""


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OptionSpec(_Declared):
    """An option of a workflow. `type` is what clients are told; `format` is what is checked besides."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")
    description: str = ""
    type: Literal["str", "int", "float", "bool", "CatalogueType", "CustomOutputStorageType"] = "str"
    format: Literal["", "integer", "number", "url", "s3-path", "seconds"] = ""
    default: ScalarText | None = None
    choices: list[str] = Field(default_factory=list)
    """Empty: anything of its type."""
    required: bool = False
    required_with: str = ""
    """Another option, or `option=VALUE`: required where that is given."""
    secret: bool = False
    """Sealed at rest and never shown again."""
    aliases: list[str] = Field(default_factory=list)
    minimum: float | None = None
    maximum: float | None = None
    to_graph: bool = False
    """Handed to the graphs, as their configuration value of the same name."""


class Run(_Declared):
    """What a custom hook runs on the product, in place of a graph: `--input PATH --output PATH --config-file PATH`."""

    engine: Literal["python", "cmd", "docker"]
    command: str
    """A file below the folder of the workflow file, or an image."""


class LayerSpec(_Declared):
    """Under which variable a layer is indexed while the order lasts, in an instance of the layer's own name."""

    variable: str
    when: str = ""
    """`option=VALUE`: made only then. Layers that end with a polarisation are made for products that have it."""


class Graphs(_Declared):
    scene: str = "CopyProductToStorage"
    tile: str = "Pass"
    config: dict[str, ScalarText] = Field(default_factory=dict)


class Workflow(_Declared):
    """A workflow, as its file declares it."""

    name: str
    display_name: str = ""
    description: str = ""
    documentation: str = ""
    version: ScalarText = "1.0"
    aliases: list[str] = Field(default_factory=list)
    """Older names; they stand for this one when ordering and filtering."""
    input_product_types: list[str] = Field(default_factory=list)
    output_product_types: list[str] = Field(default_factory=list)
    source: SourceKind = SourceKind.PRODUCT
    constellation: str = "sentinel2"
    """Of the payload that its orders are; a product's own name decides where it tells one."""
    bursts: bool = False
    """Whether the tiles of its scenes are Sentinel-1 bursts."""
    output: bool = True
    """Whether it makes files for the customer."""
    option_groups: list[Literal["output", "source"]] = Field(default_factory=lambda: ["output", "source"])  # type: ignore[arg-type]
    """Options shared by many workflows (`_groups.yaml`), before its own."""
    options: list[OptionSpec] = Field(default_factory=list)
    graphs: Graphs = Graphs()
    run: Run | None = None
    requires: dict[str, str] = Field(default_factory=dict)
    """External tools its graphs need, by the name under which `hook.tools` declares them -> what to tell where it does not."""
    variables: list[VariableSpec] = Field(default_factory=list)
    """For the layers: created where they are missing."""
    layers: dict[str, LayerSpec] = Field(default_factory=dict)
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    number: int = Field(0, exclude=True)
    """`Id` among the workflows of this deployment."""

    @property
    def uuid(self) -> uuid.UUID:
        return uuid.uuid5(_NAMESPACE, self.name)

    @property
    def title(self) -> str:
        return self.display_name or self.name

    def option(self, name: str) -> OptionSpec | None:
        """By its name or an alias."""
        return next((spec for spec in self.options if spec.name == name or name in spec.aliases), None)

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"{value[:80]!r} must be 1 to 64 letters, digits and _ . -")
        return value

    @model_validator(mode="after")
    def _no_option_twice(self) -> Workflow:
        names = [name for spec in self.options for name in (spec.name, *spec.aliases)]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise UserError(f"'{double[0]}' stands twice", field="options")
        return self


@dataclass(frozen=True)
class WorkflowShelf:
    """The workflows of a deployment, by number; the shipped ones first."""

    workflows: tuple[Workflow, ...]

    def named(self) -> list[tuple[str, Workflow]]:
        """Each under its name and its aliases."""
        return [(name, each) for each in self.workflows for name in (each.name, *each.aliases)]

    def get(self, name: str) -> Workflow | None:
        """By name or alias."""
        return next((each for each in self.workflows if each.name == name or name in each.aliases), None)


class Workflows:
    """The workflows of a deployment, read anew when a file has changed. A file that is wrong then leaves all of them as they were."""

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """Raises ConfigurationError naming the file that is wrong."""
        self._folders = tuple(folders)
        self._state = self._seen()
        self._shelf = load_workflows(self._folders)

    def current(self) -> WorkflowShelf:
        state = self._seen()
        if state != self._state:
            self._state = state
            try:
                self._shelf = load_workflows(self._folders)
            except ConfigurationError as error:
                log.error("the workflows stay as they were: %s", error)
        return self._shelf

    def _seen(self) -> tuple[tuple[str, int, int], ...]:
        files = [file for folder in self._folders for file in _own_files(folder)]
        return tuple((str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)


def load_workflows(folders: Iterable[Path] = ()) -> WorkflowShelf:
    """Those that come with the program, then the `*.workflow.yaml` of graph folders; one of these replaces a shipped one of its name.

    Raises ConfigurationError naming the file.
    """
    shipped = resources.files("catalogue.hook") / "workflows"
    groups = _groups(shipped)
    own = sorted((each for each in shipped.iterdir() if _is_shipped(each)), key=lambda each: each.name)
    found: dict[str, Workflow] = {}
    for number, file in enumerate(own, start=1):
        workflow = _read(file, groups)
        found[workflow.name] = workflow.model_copy(update={"number": number})
    for file in (file for folder in folders for file in _own_files(folder)):
        workflow = _read(file, groups)
        # Not by its place in the list: another file must not change it.
        number = found[workflow.name].number if workflow.name in found else _FIRST_OWN + zlib.crc32(workflow.name.encode()) % 10**6
        found[workflow.name] = workflow.model_copy(update={"number": number})
    _check_names(tuple(found.values()))
    return WorkflowShelf(tuple(found.values()))


def _is_shipped(file: Traversable) -> bool:
    return file.name.endswith(".yaml") and not file.name.startswith("_")


def _own_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob(f"*{SUFFIX}") if file.is_file()) if folder.is_dir() else []


def _groups(place: Traversable) -> dict[str, list[dict[str, object]]]:
    groups: dict[str, list[dict[str, object]]] = yaml.safe_load((place / "_groups.yaml").read_text(encoding="utf-8"))
    return groups


def _read(file: Traversable, groups: Mapping[str, Sequence[object]]) -> Workflow:
    """A workflow with the options of its groups before its own; an own option replaces one of its name."""
    try:
        text = file.read_text(encoding="utf-8")
        document = yaml.safe_load(text) if len(text) <= _MAX_BYTES else None
        if not isinstance(document, dict):
            raise UserError(f"must be a YAML mapping of at most {_MAX_BYTES // 1024} kB")
        workflow = validated(Workflow, document)
        own = {spec.name for spec in workflow.options}
        shared = [validated(OptionSpec, each) for group in workflow.option_groups for each in groups[group]]
        options = [*(spec for spec in shared if spec.name not in own), *workflow.options]
        whole = validated(Workflow, {**document, "options": [spec.model_dump() for spec in options]})
        return whole if whole.run is None else _with_run(whole, file.name)
    except (UserError, OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"workflow file {file.name}: {error}") from None


def _with_run(workflow: Workflow, file: str) -> Workflow:
    """Its tile graph is that of its `run`, which is found by the name of the file."""
    if not file.endswith(SUFFIX):
        raise UserError(f"its file must be called NAME{SUFFIX}", field="run")
    scene = "Pass" if workflow.source is SourceKind.NONE else workflow.graphs.scene
    return workflow.model_copy(update={"graphs": workflow.graphs.model_copy(update={"scene": scene, "tile": file.removesuffix(SUFFIX)})})


def _check_names(workflows: Sequence[Workflow]) -> None:
    seen: dict[str, str] = {}
    for workflow in workflows:
        for name in (workflow.name, *workflow.aliases):
            if name in seen:
                raise ConfigurationError(f"workflows '{seen[name]}' and '{workflow.name}' are both called '{name}'")
            seen[name] = workflow.name
