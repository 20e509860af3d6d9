"""The places products are fetched from: one module each, made from `[providers.NAME]` by `open_providers`."""

from downloader.providers.base import NotOfferedError, OfflineError, ProductRequest, Provider
from downloader.providers.registry import check_providers, fetch_product, open_providers

__all__ = ["NotOfferedError", "OfflineError", "ProductRequest", "Provider", "check_providers", "fetch_product", "open_providers"]
