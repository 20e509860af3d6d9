"""What the handlers work with, kept in the application."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from nats.aio.client import Client

from catalogue.database import Pool
from catalogue.events import EventHub
from catalogue.external.base import ExternalCatalogue
from catalogue.graphs import GraphShelf
from catalogue.hook.service import HookService
from catalogue.metrics import CatalogueMetrics
from catalogue.sentinel1.annotations.reader import AnnotationReader
from catalogue.sentinel1.bursts_api import BurstService
from common.config import Settings


@dataclass(frozen=True)
class Services:
    settings: Settings
    pool: Pool
    client: Client
    catalogues: list[ExternalCatalogue]
    annotations: AnnotationReader
    burst_service: BurstService | None
    events: EventHub
    metrics: CatalogueMetrics
    hook: HookService

    def shelf(self) -> GraphShelf:
        """A new one for each request: a graph may be edited at any time."""
        return GraphShelf(self.settings.graphs.folders, self.settings.worker.capabilities)


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)


def services(request: web.Request) -> Services:
    return request.app[SERVICES]
