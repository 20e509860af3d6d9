"""Orders from a customer's own catalogue to their own bucket or to our temporary storage, byte for byte, without a secret anywhere."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import threading
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import static_catalogue
from fixtures_s3 import ACCESS_KEY, SECRET_KEY, S3Server
from oidc_issuer import AUDIENCE, OidcIssuer
from order_source import CLIENT, COLLECTION, PASSWORD, USER, Listed, OrderSource, packed, safe_files
from order_stack import OrderStack, order_settings, order_stack

from catalogue.hook import outputs
from catalogue.hook.expiry import ExpirySweeper
from catalogue.hook.packages import Entry
from catalogue.workflow.deletions import Sweeper
from common.access_settings import AuthSettings, IssuerSettings
from common.config import ProviderSettings, Settings
from common.storage import open_storage
from common.storage.s3 import client_for

L1C = "S2A_MSIL1C_20230910T050701_N0509_R019_T47VLH_20230910T074321"
L2A = "S2A_MSIL2A_20180124T092251_N0213_R093_T35TLG_20210214T010009"
MISSING = "S2A_MSIL1C_20230911T050701_N0509_R019_T47VLH_20230911T074321"


@pytest.fixture
async def source() -> AsyncIterator[OrderSource]:
    async with OrderSource({name: Listed(name) for name in (L1C, L2A)}) as running:
        yield running


def stac_options(source: OrderSource) -> dict[str, str]:
    """As the tutorial sends them."""
    return {
        "source_type": "EXTERNAL",
        "source_catalogue_api_url": f"{source.url}/stac",
        "source_catalogue_api_type": "STAC",
        "source_token_url": source.token_url,
        "source_grant_type": "PASSWORD",
        "source_auth_header_name": "Authorization",
        "source_username": USER,
        "source_password": PASSWORD,
        "source_client_id": CLIENT,
        "source_client_secret": "",
        "source_catalogue_collection": COLLECTION,
    }


def bucket_options(s3_server: S3Server, bucket: str, prefix: str = "") -> dict[str, str]:
    return {
        "output_storage": "PRIVATE",
        "output_s3_access_key": ACCESS_KEY,
        "output_s3_secret_key": SECRET_KEY,
        "output_s3_path": f"s3://{bucket}/{prefix}".rstrip("/"),
        "output_s3_endpoint_url": s3_server.endpoint_url,
    }


def objects(s3_server: S3Server, bucket: str) -> dict[str, bytes]:
    client = client_for(s3_server.settings)
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def expected(name: str, prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{name}.SAFE/{path}": content for path, content in safe_files(name).items()}


async def fetched(stack: OrderStack, link: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    async with stack.catalogue.http.get(link, headers=headers) as answer:
        return answer.status, await answer.read(), dict(answer.headers)


async def test_harvest_to_a_bucket_and_to_temporary_storage(
    source: OrderSource, s3_server: S3Server, s3_bucket: str, catalogue_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Also what must not be anywhere: the secrets of the order."""
    caplog.set_level(logging.DEBUG)
    settings = order_settings(catalogue_settings, source.url, s3_server.endpoint_url)
    async with order_stack(settings) as stack:
        options = stac_options(source)
        order = await stack.order("data-harvest", [f"{L1C}.SAFE", MISSING], **options, **bucket_options(s3_server, s3_bucket, "a/b"))
        during = await stack.dump()
        items = await stack.ended(order)
        assert [item["Status"] for item in items] == ["completed", "failed"]
        assert objects(s3_server, s3_bucket) == expected(L1C, "a/b/")
        assert items[0]["ProcessedName"] == L1C
        assert items[0]["ProcessedSize"] == sum(map(len, safe_files(L1C).values()))
        assert items[0]["DownloadLink"] is None
        assert items[1]["StatusMessage"] == f"{MISSING} is not found in the catalogue of the order"

        order = await stack.order("data-harvest", [L2A], **options, output_storage="TEMPORARY")
        [item] = await stack.ended(order)
        status, content, headers = await fetched(stack, item["DownloadLink"])
        assert (status, headers["Content-Type"], len(content)) == (200, "application/zip", item["ProcessedSize"])
        assert unzipped(content) == expected(L2A)
        assert headers["Content-Disposition"] == f'attachment; filename="{L2A}.zip"'
        status, part, _ = await fetched(stack, item["DownloadLink"], Range="bytes=100-299")
        assert (status, part) == (206, content[100:300])
        link = item["DownloadLink"]
        for wrong in (link[:-1], link + "x", link.replace("expires=", "expires=1"), link.replace("Downloads(", "Downloads(1")):
            assert (await fetched(stack, wrong))[0] in (403, 404), wrong

        # Nothing of an order stays but its rows: no scene, no sealed secret, no file but the result.
        assert await stack.catalogue.database.fetchval("SELECT count(*) FROM hook_order WHERE sealed IS NOT NULL") == 0
        assert await stack.catalogue.count("scene") == 0
        await _check_secrets(stack, [during, await stack.dump(), caplog.text], [PASSWORD, SECRET_KEY, *source.tokens])
    assert {form["grant_type"] for form in source.forms} == {"password"}


async def _check_secrets(stack: OrderStack, texts: list[str], secrets: list[str]) -> None:
    """Neither as they are nor in the usual disguises."""
    everywhere = [*texts, *stack.replies, *(message.decode("latin-1") for message in stack.messages)]
    assert len(stack.messages) > 10
    assert any(b"sealed_access" in message for message in stack.messages)  # it was looked at the right place
    for secret in secrets:
        hidden = {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("="), secret.encode().hex()}
        assert not [text[max(0, at - 80) : at + 20] for text in everywhere for each in hidden if (at := text.find(each)) >= 0]


async def test_harvest_from_odata_and_from_a_bucket_of_products(
    source: OrderSource, s3_server: S3Server, s3_bucket: str, catalogue_settings: Settings
) -> None:
    """As the older notebook names its sources: the URL of an OData catalogue alone, with the keys of the bucket that holds the products."""
    client = client_for(s3_server.settings)
    existing = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    if "eodata" not in existing:
        client.create_bucket(Bucket="eodata")
    for path, content in safe_files(L1C).items():
        client.put_object(Bucket="eodata", Key=f"Sentinel/{L1C}.SAFE/{path}", Body=content)
    settings = order_settings(catalogue_settings, source.url, s3_server.endpoint_url)
    async with order_stack(settings) as stack:
        inputs = {"input_catalogue_url": source.url, "input_s3_url": s3_server.endpoint_url}
        keys = {"input_s3_access_key": ACCESS_KEY, "input_s3_secret_key": SECRET_KEY}
        outputs = {"s3_bucket": s3_bucket, "s3_prefix": "older", "s3_access_key": ACCESS_KEY, "s3_secret_key": SECRET_KEY}
        order = await stack.order("data-harvest", [L1C], **inputs, **keys, **outputs, s3_endpoint_url=s3_server.endpoint_url)
        await stack.ended(order)
        assert objects(s3_server, s3_bucket) == expected(L1C, "older/")
        # Without keys the product comes from the service itself, with a token.
        login = {"source_server_url": f"{source.url}/auth", "source_realm": "dedl", "source_username": USER}
        login |= {"source_password": PASSWORD, "source_client_id": CLIENT}
        order = await stack.order("data-harvest", [L2A], input_catalogue_url=source.url, **login)
        [item] = await stack.ended(order)
        status, content, _ = await fetched(stack, item["DownloadLink"])
        assert (status, unzipped(content)) == (200, expected(L2A))


async def test_the_data_lake_is_a_stac_api_with_a_login(source: OrderSource, catalogue_settings: Settings) -> None:
    source.suffix = ".SAFE"  # items may be called either way
    hook = {"desp_url": f"{source.url}/stac", "desp_token_url": source.token_url, "desp_client_id": CLIENT}
    async with order_stack(order_settings(catalogue_settings, source.url, **hook)) as stack:
        desp = {"source_type": "DESP", "desp_source_username": USER, "desp_source_password": PASSWORD, "desp_source_collection": COLLECTION}
        [item] = await stack.ended(await stack.order("data-harvest", [L1C], **desp))
        status, content, _ = await fetched(stack, item["DownloadLink"])
        assert (status, unzipped(content)) == (200, expected(L1C))
        [item] = await stack.ended(await stack.order("data-harvest", [L1C], **{**desp, "desp_source_password": "wrong-password"}), "failed")
        assert "gives no token for the user and password of the order" in item["StatusMessage"]
        assert "wrong-password" not in str(stack.replies) + await stack.dump()


async def test_buckets_that_cannot_be_written_to_fail_the_item(
    source: OrderSource, s3_server: S3Server, s3_bucket: str, catalogue_settings: Settings
) -> None:
    settings = order_settings(catalogue_settings, source.url, s3_server.endpoint_url)
    async with order_stack(settings) as stack:
        good = {**stac_options(source), **bucket_options(s3_server, s3_bucket)}
        orders = {
            "does not exist": await stack.order("data-harvest", [L1C], **{**good, "output_s3_path": "s3://no-such-bucket-here/x"}),
            "refuses access": await stack.order("data-harvest", [L1C], **{**good, "output_s3_secret_key": "another-secret-key"}),
        }
        for reason, order in orders.items():
            [item] = await stack.ended(order, "failed")
            assert reason in item["StatusMessage"]
            assert "another-secret-key" not in item["StatusMessage"]
        assert objects(s3_server, s3_bucket) == {}


async def test_results_in_a_bucket_of_ours_are_given_by_short_links(
    source: OrderSource, s3_server: S3Server, s3_settings: Settings, catalogue_settings: Settings
) -> None:
    settings = order_settings(catalogue_settings, source.url)
    settings = settings.model_copy(update={"storage": s3_settings.storage, "s3": s3_settings.s3})
    async with order_stack(settings) as stack:
        order = await stack.order("data-harvest", [L1C], **stac_options(source))
        [item] = await stack.ended(order)
        status, _ = await stack.ask("GET", item["DownloadLink"])
        assert status == 302
        status, content, _ = await fetched(stack, item["DownloadLink"])
        assert (status, unzipped(content), len(content)) == (200, expected(L1C), item["ProcessedSize"])
        # As the notebooks fetch it.
        status, content, _ = await fetched(stack, f"{stack.catalogue.url}/odata/v1/BatchOrder({order})/Product({item['Id']})/$value")
        assert (status, unzipped(content)) == (200, expected(L1C))


async def test_expired_results_are_removed(source: OrderSource, catalogue_settings: Settings) -> None:
    settings = order_settings(catalogue_settings, source.url)
    async with order_stack(settings) as stack:
        order = await stack.order("data-harvest", [L1C], **stac_options(source))
        [item] = await stack.ended(order)
        row = await stack.catalogue.database.fetchrow("SELECT output_uri, expires_at FROM hook_item WHERE id = $1", item["Id"])
        assert timedelta(days=13, hours=23) < row["expires_at"] - datetime.now(UTC) <= timedelta(days=14)
        storage = open_storage(settings.storage, settings)
        assert await storage.exists(row["output_uri"].removeprefix(storage.root + "/"))

        import asyncpg

        pool = await asyncpg.create_pool(settings.database.url, min_size=1, max_size=2)
        assert await ExpirySweeper(pool).sweep() == 0
        await pool.execute("UPDATE hook_item SET expires_at = now() - interval '1 second' WHERE id = $1", item["Id"])
        assert await ExpirySweeper(pool).sweep() == 1
        while await Sweeper(pool, lambda _: storage).sweep():
            pass
        await pool.close()
        assert not await storage.exists(row["output_uri"].removeprefix(storage.root + "/"))
        assert (await fetched(stack, item["DownloadLink"]))[0] in (404, 410)
        status, _ = await stack.ask("GET", f"BatchOrder({order})/Product({item['Id']})/$value")
        assert status in (404, 410)


async def test_others_see_neither_an_order_nor_its_result(source: OrderSource, catalogue_settings: Settings) -> None:
    issuer = OidcIssuer()
    await issuer.start()
    settings = order_settings(catalogue_settings, source.url)
    known = {"test": IssuerSettings(url=issuer.url, audience=[AUDIENCE])}
    settings = settings.model_copy(update={"auth": AuthSettings(issuers=known)})
    try:
        async with order_stack(settings) as stack:
            stack.headers = {"Authorization": f"Bearer {issuer.token('ada')}"}
            order = await stack.order("data-harvest", [L1C], **stac_options(source))
            [item] = await stack.ended(order)
            value = f"BatchOrder({order})/Product({item['Id']})/$value"
            assert (await stack.ask("GET", value))[0] == 200
            stack.headers = {"Authorization": f"Bearer {issuer.token('bob')}"}
            for path in (f"BatchOrder({order})", f"BatchOrder({order})/Products", value, f"ProductionOrders({item['Id']})"):
                assert (await stack.ask("GET", path))[0] == 404, path
            assert (await stack.ask("GET", "ProductionOrders"))[1]["value"] == []
            stack.headers = {}
            assert (await stack.ask("GET", value))[0] == 401
            # The link is as good as a token, for whoever was given it.
            assert (await fetched(stack, item["DownloadLink"]))[0] == 200
    finally:
        await issuer.close()


async def test_without_a_source_the_catalogues_and_providers_of_the_deployment_serve(catalogue_settings: Settings, tmp_path: Path) -> None:
    name = static_catalogue.NAMES[0]
    (tmp_path / "products").mkdir()
    (tmp_path / "products" / f"{name}.zip").write_bytes(packed(name))
    settings = order_settings(catalogue_settings, str(tmp_path)).model_copy(
        update={
            "catalogues": {"small": static_catalogue.static_catalogue(tmp_path / "stac")},
            "providers": {"disk": ProviderSettings(type="local", path=str(tmp_path / "products"))},
        }
    )
    async with order_stack(settings) as stack:
        [item] = await stack.ended(await stack.order("data-harvest", [f"{name}.SAFE"]))
        status, content, _ = await fetched(stack, item["DownloadLink"])
        assert (status, unzipped(content)) == (200, expected(name))
        [item] = await stack.ended(await stack.order("data-harvest", [MISSING]), "failed")
        assert item["StatusMessage"] == f"{MISSING} is not found in the catalogues of this service"


async def test_products_in_separate_files_are_harvested_with_all_of_them(
    source: OrderSource, s3_server: S3Server, s3_bucket: str, catalogue_settings: Settings
) -> None:
    source.in_files = True
    async with order_stack(order_settings(catalogue_settings, source.url, s3_server.endpoint_url)) as stack:
        order = await stack.order("data-harvest", [L1C], **stac_options(source), **bucket_options(s3_server, s3_bucket))
        await stack.ended(order)
        files = {content for path, content in objects(s3_server, s3_bucket).items() if path.startswith(f"{L1C}/")}
        assert set(safe_files(L1C).values()) <= files


async def test_hello_world_reads_files_of_a_bucket(s3_server: S3Server, s3_bucket: str, catalogue_settings: Settings) -> None:
    """As the notebook orders it: the same keys for input and output, no identifier worth the name."""
    client = client_for(s3_server.settings)
    client.put_object(Bucket=s3_bucket, Key="in/example.data", Body=b"hello, world\n")
    client.put_object(Bucket=s3_bucket, Key="in/deep/other.txt", Body=b"more")
    client.put_object(Bucket=s3_bucket, Key="input", Body=b"not this one")
    async with order_stack(order_settings(catalogue_settings, s3_server.endpoint_url)) as stack:
        inputs = {"input_s3_path": f"s3://{s3_bucket}/in", "input_s3_endpoint_url": s3_server.endpoint_url}
        keys = {"input_s3_access_key": ACCESS_KEY, "input_s3_secret_key": SECRET_KEY}
        order = await stack.order("dedl_hello_world", ["noidentifier"], **inputs, **keys, **bucket_options(s3_server, s3_bucket, "out"))
        await stack.ended(order)
        made = {key: content for key, content in objects(s3_server, s3_bucket).items() if key.startswith("out/")}
        assert sorted(made.values()) == [b"HELLO, WORLD\n", b"MORE"]
        # Keys for a bucket that has nothing there, and keys that are none.
        for wrong, reason in (
            ({"input_s3_path": f"s3://{s3_bucket}/nothing"}, "holds no files"),
            ({"input_s3_secret_key": "x" * 20}, "refuses access"),
        ):
            order = await stack.order("dedl_hello_world", [], **{**inputs, **keys, **wrong})
            [item] = await stack.ended(order, "failed")
            assert reason in item["StatusMessage"]
        await _check_secrets(stack, [await stack.dump()], [SECRET_KEY])


@pytest.mark.parametrize("key", ["line\nbreak-in-the-key", "kéy-of-somebody-else", "tab\tin-the-key"])
async def test_keys_that_cannot_be_sent_are_told_without_being_repeated(
    key: str, source: OrderSource, s3_server: S3Server, s3_bucket: str, catalogue_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with order_stack(order_settings(catalogue_settings, source.url, s3_server.endpoint_url)) as stack:
        options = {**stac_options(source), **bucket_options(s3_server, s3_bucket), "output_s3_access_key": key}
        [item] = await stack.ended(await stack.order("data-harvest", [L1C], **options), "failed")
        assert "output_s3_access_key holds characters that cannot be sent" in item["StatusMessage"]
        assert not [text for text in (await stack.dump(), caplog.text, *stack.replies) if key in text or repr(key)[1:-1] in text]


@pytest.mark.parametrize("private", [True, False], ids=["private", "temporary"])
async def test_a_delivery_that_is_cut_off_begins_again(
    private: bool, source: OrderSource, s3_server: S3Server, s3_bucket: str, catalogue_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogue ends in the middle of it; another takes it up when the lease has run out."""
    settings = order_settings(catalogue_settings, source.url, s3_server.endpoint_url)
    options = stac_options(source) | (bucket_options(s3_server, s3_bucket) if private else {})
    begun, entries = threading.Event(), outputs.entries_of

    def cut_off(*given: Any) -> Iterator[Entry]:
        for number, entry in enumerate(entries(*given)):
            if number == 2:
                begun.set()
                while True:
                    time.sleep(0.01)
                    yield replace(entry, path="unfinished/never", size=None, open=lambda: io.BytesIO(b"x"))
            yield entry

    with monkeypatch.context() as patched:
        patched.setattr(outputs, "entries_of", cut_off)
        async with order_stack(settings) as stack:
            order = await stack.order("data-harvest", [L1C], **options)
            assert await asyncio.to_thread(begun.wait, 30)
    async with order_stack(settings) as stack:
        phase = await stack.catalogue.database.fetchval("UPDATE hook_item SET due_at = now() RETURNING phase")
        assert phase == "deliver"
        [item] = await stack.ended(order)
        if private:
            made = objects(s3_server, s3_bucket)
            made.pop("unfinished/never", None)
        else:
            made = unzipped((await fetched(stack, item["DownloadLink"]))[1])
            storage = open_storage(settings.storage, settings)
            assert len(await storage.files(f"{storage.root}/on-demand")) == 1
        assert made == expected(L1C)
