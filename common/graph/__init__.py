"""The graph engine: what runs on a scene or a tile, written as JSON in the format of the reference.

`document` is the JSON, `library` finds it by name, `conditions` and `arguments` evaluate it, `plan` says what would run, `engines` and
`containers` how, `pool` and `processes` run it, `run` carries out a whole graph.
"""

from common.graph.invocation import Surroundings
from common.graph.library import Graph, known_graphs, load_graph
from common.graph.pool import StepPool
from common.graph.record import StepRecord
from common.graph.run import GraphOutcome, HandledFile, run_graph
from common.graph.sources import StepSources
from common.graph.tiles import GraphTiles

__all__ = [
    "Graph",
    "GraphOutcome",
    "GraphTiles",
    "HandledFile",
    "StepPool",
    "StepRecord",
    "StepSources",
    "Surroundings",
    "known_graphs",
    "load_graph",
    "run_graph",
]
