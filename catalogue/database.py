"""The connection pool and the migrations: numbered SQL files, applied once, in order, by whichever replica comes first."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import asyncpg

from common.errors import ConfigurationError, UserError

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    # The stubs are generic, the classes are not.
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

PASSING_ERRORS: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, cancelled
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,  # deadlocks and the like
    asyncpg.InterfaceError,  # the connection is gone
    asyncpg.InternalClientError,  # it went in the middle of something
    OSError,  # with TimeoutError
)
"""What a database that restarts, fails over or is crowded answers: trying again mends it."""

DATABASE_ERRORS: tuple[type[Exception], ...] = (*PASSING_ERRORS, asyncpg.PostgresError)
"""Whatever a database may answer."""

_MIGRATION_LOCK = 7_470_001
"""Key of the advisory lock replicas take to migrate one at a time."""

MINIMUM_VERSION = 14


@dataclass(frozen=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def open_pool(url: str, *, size: int, wait_s: float = 30.0) -> Pool:
    """A pool on the migrated database at `url`; waits for a server that is still starting.

    Raises ConfigurationError where it cannot be reached or is too old.
    """
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            pool = await asyncpg.create_pool(url, min_size=2, max_size=size, init=_prepare, command_timeout=120)
            break
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise ConfigurationError(f"database.url: no PostgreSQL answers there: {error}") from None
            await asyncio.sleep(0.1)
        except (asyncpg.PostgresError, ValueError) as error:
            raise ConfigurationError(f"database.url: {error}") from None
    try:
        async with pool.acquire() as connection:
            await migrate(connection)
    except BaseException:
        await pool.close()
        raise
    return pool


async def migrate(connection: Connection) -> list[int]:
    """Apply the migrations this database lacks, each in its own transaction; the versions applied."""
    if connection.get_server_version().major < MINIMUM_VERSION:
        raise ConfigurationError(
            f"database.url: PostgreSQL {MINIMUM_VERSION} or later is needed, not {connection.get_server_version().major}"
        )
    if not await _lacks_migrations(connection):
        return []
    applied: list[int] = []
    await connection.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration"
            " (version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row["version"] for row in await connection.fetch("SELECT version FROM schema_migration")}
        for migration in migrations():
            if migration.version in done:
                continue
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migration (version, name, checksum) VALUES ($1, $2, $3)",
                    migration.version,
                    migration.name,
                    migration.checksum,
                )
            log.info("database migrated: %s", migration.name)
            applied.append(migration.version)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"database.url: this role may not migrate the database ({error}): run `python -P -m catalogue.migrate` as its owner"
        ) from None
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _MIGRATION_LOCK)
    return applied


async def _lacks_migrations(connection: Connection) -> bool:
    """Raises ConfigurationError for a migration that is not the one that was applied."""
    if await connection.fetchval("SELECT to_regclass('schema_migration')") is None:
        return True
    done = {row["version"]: row["checksum"] for row in await connection.fetch("SELECT version, checksum FROM schema_migration")}
    for migration in migrations():
        if done.get(migration.version, migration.checksum) != migration.checksum:
            raise ConfigurationError(f"migration {migration.name} was changed after it had been applied to this database")
    return any(migration.version not in done for migration in migrations())


def migrations() -> list[Migration]:
    """The migrations that travel with the program, in order."""
    files = (file for file in resources.files("catalogue.migrations").iterdir() if file.name.endswith(".sql"))
    return sorted(
        (Migration(int(file.name.split("_")[0]), file.name.removesuffix(".sql"), file.read_text()) for file in files),
        key=lambda migration: migration.version,
    )


def affected(tag: str) -> int:
    """How many rows a command changed, from its completion tag (`UPDATE 3`)."""
    return int(tag.rsplit(" ", 1)[-1])


def row_number(text: str, what: str) -> int:
    """The id in a URL; raises UserError."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UserError(f"'{text[:40]}' is not a number", field=what)
    return int(text)


async def _prepare(connection: Connection) -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
