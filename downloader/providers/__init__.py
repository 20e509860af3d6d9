"""The places products are fetched from: one module each, made from `[providers.NAME]` by `open_providers`."""

from downloader.providers.base import NotOfferedError, ProductRequest, Provider
from downloader.providers.registry import fetch_product, open_providers

__all__ = ["NotOfferedError", "ProductRequest", "Provider", "fetch_product", "open_providers"]
