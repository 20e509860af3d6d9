"""The graph engine: what runs on a scene or a tile, written as JSON in the format of the reference.

`document` is the JSON, `library` finds it by name, `conditions` and `arguments` evaluate it, `engines` and `processes` run its steps,
`run` carries out a whole graph.
"""

from common.graph.engines import StepSources
from common.graph.library import Graph, known_graphs, load_graph
from common.graph.run import GraphOutcome, HandledFile, run_graph
from common.graph.tiles import GraphTiles

__all__ = ["Graph", "GraphOutcome", "GraphTiles", "HandledFile", "StepSources", "known_graphs", "load_graph", "run_graph"]
