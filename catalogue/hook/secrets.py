"""The secret options of an order, sealed for the database, and what travels sealed with a job."""

from __future__ import annotations

from collections.abc import Mapping

from catalogue.hook.orders import ItemError
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
