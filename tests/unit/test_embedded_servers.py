"""The embedded PostgreSQL and NATS: started, used by a real client, closed to strangers."""

from __future__ import annotations

import socket

import asyncpg
import nats
import pytest
from nats.js.api import StreamConfig


async def test_a_test_has_a_database_of_its_own_that_speaks_utf8(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0
        await connection.execute("CREATE EXTENSION btree_gist; CREATE TABLE left_over (a int)")
        assert await connection.fetchval("SELECT upper('ærø') || current_setting('server_encoding')") == "ÆRØUTF8"
        assert not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    finally:
        await connection.close()


async def test_postgres_asks_for_the_password(database_url: str) -> None:
    head, _, tail = database_url.rpartition("@")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"{head.rpartition(':')[0]}:wrong@{tail}")


async def test_nats_keeps_streams(clean_nats_url: str) -> None:
    client = await nats.connect(clean_nats_url)
    try:
        stream = client.jetstream()
        assert await stream.streams_info() == []
        await stream.add_stream(StreamConfig(name="KEPT", subjects=["kept.>"]))
        await stream.publish("kept.one", bytes(7 * 2**20))
        assert (await stream.stream_info("KEPT")).state.messages == 1
    finally:
        await client.close()


def test_nats_asks_for_the_password(nats_url: str) -> None:
    host, _, port = nats_url.rpartition("@")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection, connection.makefile("rwb") as stream:
        assert b'"auth_required":true' in stream.readline()
        stream.write(b"CONNECT {}\r\nPING\r\n")
        stream.flush()
        assert b"Authorization Violation" in stream.readline()
