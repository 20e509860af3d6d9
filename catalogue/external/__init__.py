"""External catalogues: where scenes are looked for. A STAC or OData API or a static STAC catalogue, configured by name."""

from catalogue.external.base import ExternalCatalogue, FoundScenes, SceneQuery
from catalogue.external.registry import configured_catalogues

__all__ = ["ExternalCatalogue", "FoundScenes", "SceneQuery", "configured_catalogues"]
