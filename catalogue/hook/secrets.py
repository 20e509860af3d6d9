"""The secret options of an order, sealed for the database, and what travels sealed with a job."""

from __future__ import annotations

from collections.abc import Mapping

from catalogue.hook.orders import ItemError, OrderItem, Secrets
from common.sealing import Sealer, SealError

_PURPOSE = "options of an order"


class OrderSecrets:
    """`orders.Secrets` with the keys of this deployment."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, values: Mapping[str, str]) -> bytes:
        """Raises ConfigurationError where there is no key."""
        return self._sealer.seal(values, _PURPOSE).encode()

    def open(self, sealed: bytes | None) -> dict[str, str]:
        """Raises ItemError where the key is another one."""
        if sealed is None:
            return {}
        try:
            return self._sealer.open(sealed.decode("ascii", "replace"), _PURPOSE)
        except SealError:
            raise ItemError("the secrets of the order cannot be opened: the key they were sealed with is gone; order again") from None


def opened_options(item: OrderItem, secrets: Secrets) -> dict[str, str]:
    """The options of an item's order, the secret ones among them. Raises ItemError, also for a secret that no header can carry: a library
    would complain of it and repeat it.
    """
    opened = secrets.open(item.order.sealed)
    for name, value in opened.items():
        if not value.isprintable() or not (value.isascii() or name.endswith("password")):
            raise ItemError(f"{name} holds characters that cannot be sent")
    return {**item.order.options, **opened}
