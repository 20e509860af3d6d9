"""The on-demand service as the catalogue holds it: its workflows, its parts, and what it needs of what is around it."""

from __future__ import annotations

from dataclasses import dataclass

from catalogue.graphs import GraphShelf
from catalogue.hook.parts import HookParts
from catalogue.hook.workflows import Workflows, WorkflowShelf
from catalogue.sentinel1.annotations.reader import AnnotationReader
from catalogue.sentinel1.bursts_api import BurstService
from common.config import Settings


@dataclass(frozen=True)
class HookService:
    """What handlers and the life of orders work with."""

    settings: Settings
    shelves: Workflows
    parts: HookParts
    annotations: AnnotationReader
    burst_service: BurstService | None

    @property
    def workflows(self) -> WorkflowShelf:
        """As they are now: a file may be added at any time."""
        return self.shelves.current()

    def graphs(self) -> GraphShelf:
        return GraphShelf(self.settings.graphs.folders, self.settings.worker.capabilities)
