"""The public services whose accounts are known, as data: where they give out tokens, and to which servers they may be shown."""

from __future__ import annotations

from collections.abc import Mapping

from common.config import AccountSettings
from common.errors import ConfigurationError

_CDSE_CONNECTIONS = 4
"""Copernicus Data Space, Quotas and Limitations: concurrent connections of an account."""

PRESETS: Mapping[str, AccountSettings] = {
    "copernicus": AccountSettings(
        type="oidc",
        token_url="https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",  # noqa: S106 - a place
        client_id="cdse-public",
        origins=[
            "https://catalogue.dataspace.copernicus.eu",
            "https://download.dataspace.copernicus.eu",
            "https://zipper.dataspace.copernicus.eu",
        ],
        connections=_CDSE_CONNECTIONS,
    ),
    "copernicus-s3": AccountSettings(type="s3", origins=["https://eodata.dataspace.copernicus.eu"], connections=_CDSE_CONNECTIONS),
    "creodias": AccountSettings(
        type="oidc",
        token_url="https://identity.cloudferro.com/auth/realms/Creodias-new/protocol/openid-connect/token",  # noqa: S106 - a place
        client_id="CLOUDFERRO_PUBLIC",
        origins=["https://datahub.creodias.eu", "https://zipper.creodias.eu", "https://download.creodias.eu"],
        connections=_CDSE_CONNECTIONS,
    ),
    # A token of Earthdata Login, shown to the servers of the Alaska Satellite Facility on the way to a signed link.
    "earthdata": AccountSettings(
        type="bearer", origins=["https://datapool.asf.alaska.edu", "https://sentinel1.asf.alaska.edu", "https://cumulus.asf.alaska.edu"]
    ),
    # Name and password are shown to Earthdata Login alone, which sends back to the server that asked with a cookie.
    "earthdata-login": AccountSettings(type="basic", origins=["https://urs.earthdata.nasa.gov"]),
    "aws": AccountSettings(type="s3", origins=["https://s3.amazonaws.com"]),
    "planetary-computer": AccountSettings(
        type="planetary-computer",
        token_url="https://planetarycomputer.microsoft.com/api/sas/v1",  # noqa: S106 - a place
        origins=["https://*.blob.core.windows.net"],
    ),
}


def completed(name: str, settings: AccountSettings) -> AccountSettings:
    """The settings, with those of their preset where they say nothing. Raises ConfigurationError."""
    if not settings.preset:
        return settings
    if settings.preset not in PRESETS:
        raise ConfigurationError(f"'accounts.{name}.preset': '{settings.preset}' is not one of {', '.join(PRESETS)}")
    given = {key: getattr(settings, key) for key in settings.model_fields_set}
    return PRESETS[settings.preset].model_copy(update=given)
