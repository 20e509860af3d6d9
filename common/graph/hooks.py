"""Custom hooks: the graph that the `run` of a workflow file (`NAME.workflow.yaml` in a graph folder) stands for.

It hands the product to one command, by the contract of hooks: `--input PATH --output PATH --config-file PATH`. What the command leaves in
the output folder is the result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from common.errors import UserError
from common.graph.arguments import file_name
from common.graph.document import ConfigArg, EngineName, GraphDocument, OutArg
from common.graph.tiles import GraphTiles

SUFFIX = ".workflow.yaml"
OUTPUT = "output"
"""Layer of the result: a folder."""
CONFIG_FILE = "config_file"
"""Setting that names a file with all settings of the graph, as JSON, in the working directory."""
CONFIG_NAME = "config.json"


def hook_graph(text: bytes, name: str) -> bytes | None:
    """The JSON of the graph; None where the workflow names graphs instead. Raises UserError naming the key."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"cannot be read: {' '.join(str(error).split())[:200]}", field=f"workflow '{name}'") from None
    run = document.get("run") if isinstance(document, dict) else None
    if run is None:
        return None
    if not isinstance(run, dict) or not isinstance(run.get("command"), str):
        raise UserError("needs 'engine' and 'command'", field=f"workflow '{name}'.run")
    engines = [engine.value for engine in EngineName if engine is not EngineName.SNAP]
    if run.get("engine") not in engines:
        raise UserError(f"must be one of {', '.join(engines)}", field=f"workflow '{name}'.run.engine")
    product = {"layer": "__product__", "extension": "*"}
    step = {
        "engine": run["engine"],
        "command": run["command"],
        "args": {
            "input": {"type": "in", **product},
            "output": {"type": "out", "layer": OUTPUT, "extension": "data"},
            "config-file": {"type": "config", "value": CONFIG_FILE},
        },
    }
    graph = {
        "config": {},
        "processing_steps": [step],
        "in_files": [[] if document.get("source") == "none" else [product], [], []],
        "out_files": [[{"layer": OUTPUT, "extension": "data", "action": "to_create"}], [], []],
    }
    return json.dumps(graph).encode()


def prepare_hook(graph: GraphDocument, config: Mapping[str, str], tiles: GraphTiles, workdir: Path) -> None:
    """Make what the contract promises a command: the file of settings, where one is asked for, and its output folder."""
    arguments = [argument for step in graph.processing_steps for argument in step.args.values()]
    asked = any(isinstance(argument, ConfigArg) and argument.value == CONFIG_FILE for argument in arguments)
    if not asked or CONFIG_FILE in graph.config:
        return
    settings = {key: value for key, value in config.items() if key not in (CONFIG_FILE, "workdir", "clip")}
    (workdir / CONFIG_NAME).write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
    for argument in arguments:
        if isinstance(argument, OutArg) and argument.extension == "data":
            (workdir / file_name(tiles.current, argument.layer, argument.extension)).mkdir(exist_ok=True)
