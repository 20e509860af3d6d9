"""The parts of the on-demand service that `orders` has protocols for, as this deployment has them."""

from __future__ import annotations

from dataclasses import dataclass

from catalogue.hook.orders import Delivery, Secrets, Source


@dataclass(frozen=True)
class HookParts:
    """What moves orders on."""

    secrets: Secrets
    source: Source
    delivery: Delivery
