"""`python -P -m processor.graphs check|explain|run`: graphs tried out without a service, in a process of their own.

What is asked for goes to standard output, what is wrong or worth knowing to standard error: lines that begin with `error:` or `note:`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from common.config import load_settings
from common.errors import ConfigurationError, ThresherError, UserError
from common.features import TilePlace
from common.graph import GraphTiles
from processor.explanation import explanation, problems, remarks
from processor.trial import SAMPLE_SCENE, Trial, find_graph, product_name, run_trial, sample_tile

FAILED, USAGE = 1, 2


def main(argv: list[str] | None = None) -> int:
    """0 when all is well, 1 where the graph failed, 2 where it is wrong or was asked for wrongly."""
    options = _parser().parse_args(argv)
    try:
        trial = _trial(options)
        return {"check": _check, "explain": _explain, "run": _run}[options.action](trial, options)
    except (UserError, ConfigurationError) as error:
        _tell([f"error: {error}"])
        return USAGE
    except (ThresherError, OSError) as error:
        _tell([f"error: {error}"])
        return FAILED


def _check(trial: Trial, _: argparse.Namespace) -> int:
    _tell(f"note: {remark}" for remark in remarks(trial))
    wrong = list(problems(trial))
    _tell(f"error: {problem}" for problem in wrong)
    if wrong:
        return USAGE
    graph = trial.graph
    layers = ", ".join(sorted(graph.indexed_layers)) or "none"
    steps = len(graph.document.processing_steps)
    _print([f"{graph.name}: {steps} steps for workers that serve {graph.capability}; layers it can index: {layers}"])
    return 0


def _explain(trial: Trial, _: argparse.Namespace) -> int:
    _print(explanation(trial))
    return 0


def _run(trial: Trial, options: argparse.Namespace) -> int:
    made = run_trial(trial, options.product, options.out, options.clip)
    _print(f"{each.path} ({each.layer}: {each.note})" if each.note else str(each.path) for each in made)
    return 0


def _trial(options: argparse.Namespace) -> Trial:
    graph, around = find_graph(options.graph, options.folder, load_settings(options.config))
    product: Path | None = options.product
    scene = options.scene or (product_name(product) if product else SAMPLE_SCENE)
    moment = datetime.strptime(options.date, "%Y-%m-%d").replace(tzinfo=UTC) if options.date else None
    place, tile = TilePlace(swath_id=options.swath, tile_nr=options.number), options.tile or scene
    tiles = GraphTiles(
        sample_tile(scene, tile=tile, date=moment, place=place),
        sample_tile(options.previous, tile=tile, place=place, number=2) if options.previous else None,
        sample_tile(options.reference, tile=tile, place=place, number=3) if options.reference else None,
    )
    config = {**_pairs(options.set, "--set"), "layers": options.layers, "clip": ""}
    trial = Trial(graph, tiles, config, around)
    return replace(trial, inputs={layer: Path(path) for layer, path in _pairs(options.input, "--input").items()})


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, is_pair, value = text.partition("=")
        if not is_pair or not key:
            raise UserError(f"{option} {text}: KEY=VALUE is expected")
        pairs[key] = value
    return pairs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -P -m processor.graphs", description="Graphs tried out without a service.")
    parser.add_argument("action", choices=["check", "explain", "run"])
    parser.add_argument("graph")
    parser.add_argument("--folder", type=Path, action="append", default=[])
    for option in ("--config", "--product", "--clip"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--out", type=Path, default=Path())
    for option in ("--scene", "--tile", "--date", "--previous", "--reference", "--swath", "--layers"):
        parser.add_argument(option, default="")
    parser.add_argument("--number", type=int, default=0)
    for option in ("--set", "--input"):
        parser.add_argument(option, action="append", default=[])
    return parser


def _print(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _tell(lines: Iterable[str]) -> None:
    sys.stderr.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
