"""The parts of the on-demand service that `orders` has protocols for, as this deployment has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catalogue.external.base import ExternalCatalogue
from catalogue.hook.orders import Delivery, Secrets, Source
from catalogue.hook.outputs import OrderDelivery
from catalogue.hook.secrets import OrderSecrets
from catalogue.hook.sources import OrderSource
from common.config import Settings
from common.sealing import Sealer
from common.storage import Storage


@dataclass(frozen=True)
class HookParts:
    """What moves orders on."""

    secrets: Secrets
    source: Source
    delivery: Delivery
    sealer: Sealer
    storage_of: Callable[[str], Storage]


def open_parts(settings: Settings, catalogues: Sequence[ExternalCatalogue], storage_of: Callable[[str], Storage]) -> HookParts:
    """Raises ConfigurationError for keys that are none."""
    sealer = Sealer(settings.secrets)
    sealer.check()
    secrets = OrderSecrets(sealer)
    source = OrderSource(settings, catalogues, secrets, sealer)
    return HookParts(secrets, source, OrderDelivery(settings, storage_of, secrets, sealer), sealer, storage_of)
