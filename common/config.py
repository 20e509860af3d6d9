"""Configuration of every service: `thresher.toml`, over it the environment (`THRESHER_SECTION_KEY`), over it the command line.

Secrets come from the environment or from files named there, never from the TOML file. `load_settings` is the one way in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from common.access_settings import AuthSettings, HookSettings, SecretsSettings
from common.errors import ConfigurationError
from common.radar_settings import DemSettings, OrbitSettings
from common.section import Section, secret_place
from common.step_settings import ContainerSettings, GraphSettings, capability
from common.validation import as_user_error

DEFAULT_FILE = "thresher.toml"


SecretName = Literal[
    "username", "password", "token", "client_id", "client_secret", "key_id", "secret_key", "session_token", "subscription_key"
]


class DatabaseSettings(Section):
    url: str = ""
    """`postgresql://…`; LISTEN needs a direct or session-pooled connection."""
    pool_size: int = Field(8, ge=2)


class NatsSettings(Section):
    url: str = ""
    """`nats://…`, several separated by commas."""
    replicas: int = Field(1, ge=1, le=5)
    """Of the streams: 3 in a cluster."""
    lease_s: float = Field(15.0, ge=1, le=600)
    """A worker that was killed occupies its connections to a limited host for so long."""
    user: str = ""
    """Of a server that gives each service rights of its own; replies then come to `_INBOX.{user}`."""
    password: SecretStr | None = None
    tls_ca: Path | None = None
    """Certificates that may have signed that of the server; default: those of the system. With it the connection must be TLS."""
    tls_certificate: Path | None = None
    """Of this service, with `tls_key`, for a server that asks for one."""
    tls_key: Path | None = None


class ServerSettings(Section):
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    """0: any free port."""
    token: SecretStr | None = None
    """Bearer token every endpoint but health asks for; required off loopback."""
    public_url: str = ""
    """Address others reach the service at, for the links in its answers; empty: as each request calls it."""


class CatalogueSettings(Section):
    """An external catalogue. `preset` fills in what is not given."""

    type: Literal["stac", "static-stac", "odata"] = "stac"
    """That of the preset, where there is one."""
    preset: str = ""
    url: str = ""
    """API root, or the root catalogue document or folder of a static catalogue."""
    collections: dict[str, list[str]] = Field(default_factory=dict)
    """Constellation and product type (`sentinel2/S2MSI2A`, or just `landsat89`) -> collection ids."""
    priority: int = 0
    """Tried from high to low."""
    timeout_s: float = Field(60.0, gt=0)
    retries: int = Field(4, ge=0)
    page_size: int = Field(100, ge=1, le=1000)
    """1000 for `odata`, unless it is given."""
    max_vertices: int = Field(400, ge=5)
    """Of the area in a query; a larger outline is simplified for the query and applied exactly to the answer."""
    max_url_length: int = Field(4000, ge=2000, le=64_000)
    """Of `odata`, in characters: the area is simplified to what such a URL can carry."""
    parallel: int = Field(4, ge=1, le=32)
    """Of `odata`: requests at once."""
    slice_days: int = Field(92, ge=1, le=36_500)
    """Of `odata`: a longer range of dates is cut into slices that are fetched at once, unless pages are asked for."""


class AccountSettings(Section):
    """An account with a provider. Its secrets are never written here: see `secrets`."""

    preset: str = ""
    """`copernicus`, `copernicus-s3`, `creodias`, `earthdata`, `earthdata-login`, `aws`, `planetary-computer`: fills in the rest."""
    type: Literal["oidc", "bearer", "basic", "s3", "planetary-computer"] = "bearer"
    """That of the preset, where there is one."""
    origins: list[str] = Field(default_factory=list)
    """`https://host[:port]` of the servers that may be shown the account, no others; also after a redirect. Of `s3`: the endpoints."""
    token_url: str = ""
    """Of `oidc`: the token endpoint; of `planetary-computer`: the root of its SAS service."""
    grant: Literal["password", "client-credentials"] = "password"
    """Of `oidc`."""
    client_id: str = ""
    scope: str = ""
    secrets: dict[SecretName, str] = Field(default_factory=dict)
    """Where each secret is: `env:VARIABLE` or `file:/path`; by default `env:THRESHER_ACCOUNT_{NAME}_{SECRET}`."""
    connections: int | None = Field(None, ge=1, le=1000)
    """With this account at once, of all workers together; by default what `limits.connections` says of the host."""

    @field_validator("secrets")
    @classmethod
    def _are_elsewhere(cls, value: dict[str, str]) -> dict[str, str]:
        for secret, place in value.items():
            secret_place(place, secret)
        return value


class ProviderSettings(Section):
    """A place products are fetched from."""

    type: str
    """`stac-asset`, `local`, `url`, `copernicus`, `copernicus-s3`, `creodias`, `asf`, `aws-s3`, `gcs`, `planetary-computer`."""
    constellations: list[str] = Field(default_factory=list)
    """Empty: all."""
    account: str = ""
    """Name of the `[accounts.NAME]` to use; none: no login."""
    path: str = ""
    """Of `local`: a folder, with `{YEAR}`, `{MONTH}`, `{DAY}`, … of the product name."""
    url: str = ""
    """Of `url`, `asf`, `gcs`, `aws-s3`: a pattern with the same parts (`url` without it takes the scene's own download link); of the others
    the root of the service."""
    catalogue_url: str = ""
    """Of `copernicus`, `copernicus-s3`, `creodias`: root of the OData catalogue that knows size, checksum and place of a product."""
    verify_checksum: bool = True
    """Whether the checksum that a catalogue tells of a whole product must be that of what is fetched."""
    order: bool = True
    """Of `copernicus`, `creodias`: order products that are offline."""
    offline_retry_s: float = Field(1800.0, gt=0)
    """Of `copernicus`, `creodias`: how long to leave a product that is offline."""
    priority: int = 0
    """Tried from high to low."""
    timeout_s: float = Field(120.0, gt=0)
    """Without a byte arriving."""
    retries: int = Field(5, ge=0)
    """Of a file, in a row, with nothing fetched in between; then the job is handed back to the queue."""
    min_bytes_per_s: float = Field(1000.0, ge=0)
    """A connection that is slower for a minute is cut and made anew."""
    endpoint_url: str = ""
    """Server of `s3://` links; empty: that of the storage."""
    region: str = ""
    anonymous: bool = False
    """Read `s3://` links without keys, as open buckets allow."""
    requester_pays: bool = False
    """Agree to pay for what is fetched from `s3://` buckets that ask for it; `aws-s3` always does."""
    failures: int = Field(5, ge=1)
    """So many temporary failures in a row close the provider for `pause_s`; then one product tries whether it is well again."""
    pause_s: float = Field(60.0, ge=0)
    parallel: int = Field(4, ge=1, le=64)
    """Files of one product fetched at once."""


class S3Settings(Section):
    """Of the storage; keys come from the usual places of AWS (environment, profile, role)."""

    endpoint_url: str = ""
    region: str = ""


class AnnotationSettings(Section):
    """Where the annotations of Sentinel-1 scenes are read, without the product."""

    urls: list[str] = Field(default_factory=list)
    """Patterns tried in this order: a SAFE folder or archive at an absolute path, `https://…` or `s3://…`, with `{SCENE}`, `{YEAR}`, …"""
    bursts_url: str = ""
    """Root of a Copernicus OData service that lists the bursts themselves, asked before annotations are read, the payload's too:
    `https://catalogue.dataspace.copernicus.eu/odata/v1`. Empty: none."""
    nodes_url: str = ""
    """Root of a Copernicus OData service that lists the files of a product, tried last: `https://download.dataspace.copernicus.eu/odata/v1`."""
    nodes_token: SecretStr | None = None
    """Access token of that service; sent to no other."""
    nodes_token_file: Path | None = None
    """A file that holds it, read anew for every scene: such tokens live for minutes."""
    endpoint_url: str = ""
    """Server of `s3://` patterns; empty: that of the storage."""
    region: str = ""
    anonymous: bool = False
    """Read `s3://` patterns without keys, as open buckets allow."""
    concurrency: int = Field(4, ge=1, le=64)
    """Scenes read at once."""
    cache: bool = True
    """Keep what was fetched in the storage, so that it is fetched once."""
    timeout_s: float = Field(60.0, gt=0)
    """Without a byte arriving."""
    retries: int = Field(4, ge=0)


class LimitSettings(Section):
    allowed_urls: list[str] = Field(default_factory=lambda: ["https://", "s3://"])
    """Prefixes a download, item or annotation link may have. Loopback and private hosts must be named in full."""
    allowed_storage: list[str] = Field(default_factory=list)
    """Prefixes a payload's `storage_uri` may have, besides the default storage."""
    body_bytes: int = Field(32 * 2**20, ge=1024)
    scenes_per_payload: int = Field(20_000, ge=1)
    in_flight: int = Field(2_000, ge=1)
    """Jobs of one kind that may be published and unfinished."""
    connections: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=lambda: {"*.dataspace.copernicus.eu": 4, "eodata.dataspace.copernicus.eu": 4, "*.creodias.eu": 4}
    )
    """Connections to a host (or to all hosts of a pattern together) at once, of all workers together and for each account; the longest
    pattern that fits counts. Hosts that none fits are not limited."""


class WorkerSettings(Section):
    concurrency: int = Field(0, ge=0)
    """Jobs at once; 0: four for a downloader, one a core for a processor."""
    scratch: Path | None = None
    """Folder for working files; default: the system's temporary folder."""
    capabilities: list[Annotated[str, AfterValidator(capability)]] = Field(default_factory=lambda: ["python"])
    """Of the catalogue: what the deployment can run; of a worker: what it serves."""
    ack_wait_s: float = Field(30.0, ge=1)
    """A job whose worker is silent for so long is given to another."""
    max_deliveries: int = Field(5, ge=1)
    """A job delivered more often without an end is poisoned."""
    grace_s: float = Field(25.0, ge=0)
    """On SIGTERM: time to finish before the rest is handed back."""
    http_port: int | None = Field(None, ge=0, le=65535)
    """Health and metrics of a worker; none by default."""
    min_scratch_mb: int = Field(512, ge=0)
    """With less free disk for working files no new jobs are taken."""
    min_memory_mb: int = Field(256, ge=0)
    """With less free memory no new jobs are taken."""


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(env_prefix="THRESHER_", env_nested_delimiter="_", env_nested_max_split=1, extra="forbid", frozen=True)

    storage: str = ""
    """Default storage: a folder (`/data/layers`, `file:///…`) or `s3://bucket/prefix`."""
    database: DatabaseSettings = DatabaseSettings()
    nats: NatsSettings = NatsSettings()
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    secrets: SecretsSettings = SecretsSettings()
    hook: HookSettings = HookSettings()
    catalogues: dict[str, CatalogueSettings] = Field(default_factory=dict)
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    accounts: dict[str, AccountSettings] = Field(default_factory=dict)
    annotations: AnnotationSettings = AnnotationSettings()
    graphs: GraphSettings = GraphSettings()
    containers: ContainerSettings = ContainerSettings()
    dems: dict[str, DemSettings] = Field(default_factory=dict)
    orbits: OrbitSettings = OrbitSettings()
    s3: S3Settings = S3Settings()
    limits: LimitSettings = LimitSettings()
    worker: WorkerSettings = WorkerSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(file: Path | None = None) -> Settings:
    """The settings of `file` (default: `$THRESHER_CONFIG`, else `./thresher.toml` if there) and the environment.

    Raises ConfigurationError, one clear line.
    """
    path = file or Path(os.environ.get("THRESHER_CONFIG") or DEFAULT_FILE)
    if not path.is_file() and (file is not None or "THRESHER_CONFIG" in os.environ):
        raise ConfigurationError(f"configuration file {path} does not exist")

    class _Settings(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        return _Settings()
    except ValidationError as error:
        raise ConfigurationError(f"configuration: {as_user_error(error)}") from None
    except ValueError as error:
        raise ConfigurationError(f"configuration: {error}") from None


def require(value: str, key: str) -> str:
    """`value`, or a ConfigurationError that says which variable sets it."""
    if not value:
        variable = "THRESHER_" + key.upper().replace(".", "_")
        raise ConfigurationError(f"'{key}' is not set: set {variable} or put it in {DEFAULT_FILE}")
    return value
