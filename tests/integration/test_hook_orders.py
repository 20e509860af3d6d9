"""The life of orders against a real database and broker; a worker by hand reports what it likes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fixtures_services import RunningCatalogue, run_catalogue
from fixtures_workflow import Broker

from common.access_settings import AuthSettings, SecretsSettings, TokenSettings
from common.config import Settings
from common.errors import ErrorKind
from common.messages import JobKind, JobProgress, Outcome
from common.messaging import Lane, progress_subject

BATCH = "/odata/v1/BatchOrder/OData.CSC.Order"
KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


@pytest.fixture
def catalogue_settings(catalogue_settings: Settings) -> Settings:
    return catalogue_settings.model_copy(update={"secrets": SecretsSettings(keys=KEY)})  # type: ignore[arg-type]


def body(**more: Any) -> str:
    return json.dumps({"Name": "an order", "WorkflowName": "odp-test", "IdentifierList": [], "WorkflowOptions": [], **more})


async def place(catalogue: RunningCatalogue, *, path: str = BATCH, headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Post it as clients do: JSON without a content type."""
    async with catalogue.http.post(
        catalogue.url + path, data=body(**more).encode(), headers=headers, skip_auto_headers=["Content-Type"]
    ) as r:
        document = await r.json()
        assert r.status == 201, document
        return document["value"]


async def ask(catalogue: RunningCatalogue, path: str, **query: str) -> Any:
    async with catalogue.http.get(f"{catalogue.url}/odata/v1/{path}", params=query) as response:
        document = await response.json()
        assert response.status == 200, document
        return document["value"]


async def until_status(catalogue: RunningCatalogue, order: int, *wanted: str) -> list[dict[str, Any]]:
    """The products of the order, once they have these states."""
    async with asyncio.timeout(20):
        while True:
            products = await ask(catalogue, f"BatchOrder({order})/Products")
            if [product["Status"] for product in products] == list(wanted):
                return products
            await asyncio.sleep(0.02)


async def test_an_order_of_one_item_from_beginning_to_end(catalogue: RunningCatalogue, broker: Broker) -> None:
    order = await place(catalogue, WorkflowOptions=[{"Name": "sleep_time", "Value": 120}], Priority=5)
    assert isinstance(order["Id"], int)
    assert (order["Status"], order["Priority"]) == ("queued", 5)
    assert order["WorkflowOptions"] == [{"Name": "sleep_time", "Value": 120}]
    single = await ask(catalogue, "ProductionOrders", **{"$filter": f"id eq {order['Id']}"})
    assert [(each["Id"], each["Status"], each["StatusMessage"]) for each in single] == [
        (str(order["Id"]), "queued", "request is queued for processing")
    ]

    await broker.run(JobKind.SCENE)
    job, carried = await broker.take(JobKind.TILE)
    assert (job.graph_name, job.graph_config["sleep_time"]) == ("OdpTest", "120")
    progress = JobProgress(job=job.job, send=job.send, worker="w", step="started")
    await broker.client.publish(progress_subject(job.tile.scene.aoi), progress.model_dump_json().encode())
    await until_status(catalogue, order["Id"], "in_progress")
    assert (await ask(catalogue, f"BatchOrder({order['Id']})"))["Status"] == "in_progress"

    await broker.report(job, carried)
    [product] = await until_status(catalogue, order["Id"], "completed")
    assert product["BatchOrderId"] == product["Id"] == order["Id"]
    assert product["CompletedDate"].endswith("Z")
    assert product["StatusMessage"] == "requested output product is available"
    assert (await ask(catalogue, f"BatchOrder({order['Id']})"))["Status"] == "completed"
    assert await catalogue.count("aoi") == await catalogue.count("scene") == await catalogue.count("record") == 0


async def test_a_list_without_a_product_makes_one_item(catalogue: RunningCatalogue) -> None:
    for identifiers in ([], [""], ["  "], ["noidentifier"]):
        order = await place(catalogue, IdentifierList=identifiers)
        assert [product["Id"] for product in await ask(catalogue, f"BatchOrder({order['Id']})/Products")] == [order["Id"]]


async def test_some_items_fail_and_the_order_completes(catalogue: RunningCatalogue, broker: Broker) -> None:
    order = await place(catalogue, IdentifierList=["A", "B.SAFE", "C"])
    items = await ask(catalogue, f"BatchOrder({order['Id']})/Products")
    assert [item["InputProductReference"] for item in items] == ["A", "B.SAFE", "C"]
    assert order["Id"] not in {item["Id"] for item in items}
    failing = f"order:{order['Id']}:{items[1]['Id']}"
    for _ in items:
        await broker.run(JobKind.SCENE)
    for _ in items:
        job, carried = await broker.take(JobKind.TILE)
        fails = job.tile.scene.aoi == failing
        more = {"error_kind": ErrorKind.FATAL, "message": "no such band"} if fails else {}
        await broker.report(job, carried, Outcome.FAILED if fails else Outcome.DONE, **more)
    products = await until_status(catalogue, order["Id"], "completed", "failed", "completed")
    assert products[1]["StatusMessage"] == "no such band"
    assert (await ask(catalogue, f"BatchOrder({order['Id']})"))["Status"] == "completed"


async def test_an_order_fails_when_all_its_items_do(catalogue: RunningCatalogue, broker: Broker) -> None:
    order = await place(catalogue, IdentifierList=["A", "B"])
    for _ in range(2):
        await broker.run(JobKind.SCENE, Outcome.FAILED, error_kind=ErrorKind.FATAL, message="lost")
    products = await until_status(catalogue, order["Id"], "failed", "failed")
    assert products[0]["StatusMessage"] == "lost"
    assert (await ask(catalogue, f"BatchOrder({order['Id']})"))["Status"] == "failed"


async def test_a_product_that_is_not_named_fails_alone(catalogue: RunningCatalogue) -> None:
    order = await place(catalogue, WorkflowName="data-harvest")
    [product] = await until_status(catalogue, order["Id"], "failed")
    assert "needs a product" in product["StatusMessage"]


async def test_cancelling_takes_the_work_away(catalogue: RunningCatalogue, broker: Broker) -> None:
    order = await place(catalogue, IdentifierList=["A", "B"])
    items = await ask(catalogue, f"BatchOrder({order['Id']})/Products")
    await broker.run(JobKind.SCENE)
    async with catalogue.http.post(f"{catalogue.url}/odata/v1/ProductionOrder({items[0]['Id']})/OData.CSC.Cancel") as response:
        assert response.status == 200
        assert (await response.json())["value"]["Status"] == "cancelled"
    assert [item["Status"] for item in await ask(catalogue, f"BatchOrder({order['Id']})/Products")] == ["cancelled", "queued"]
    async with catalogue.http.get(f"{catalogue.url}/odata/v1/BatchOrder({order['Id']})/OData.CSC.Cancel") as response:
        assert (await response.json())["value"]["Status"] == "cancelled"
    # Once more changes nothing.
    async with catalogue.http.post(f"{catalogue.url}/odata/v1/BatchOrder({order['Id']})/OData.CSC.Cancel") as response:
        assert response.status == 200
    async with asyncio.timeout(10):
        while await catalogue.count("aoi"):
            await asyncio.sleep(0.02)


async def test_what_has_completed_cannot_be_cancelled(catalogue: RunningCatalogue, broker: Broker) -> None:
    order = await place(catalogue)
    await broker.run(JobKind.SCENE)
    await broker.run(JobKind.TILE)
    await until_status(catalogue, order["Id"], "completed")
    async with catalogue.http.post(f"{catalogue.url}/odata/v1/BatchOrder({order['Id']})/OData.CSC.Cancel") as response:
        assert response.status == 409
        assert "completed" in (await response.json())["detail"]


async def test_an_order_of_high_priority_takes_the_urgent_lane(catalogue: RunningCatalogue, broker: Broker) -> None:
    for _ in range(5):
        await place(catalogue)
    urgent = await place(catalogue, Priority=10)
    job, carried = await broker.take(JobKind.SCENE, Lane.URGENT)
    assert job.scene.aoi == f"order:{urgent['Id']}:{urgent['Id']}"
    await broker.report(job, carried)
    job, carried = await broker.take(JobKind.TILE, Lane.URGENT)
    await broker.report(job, carried)
    await until_status(catalogue, urgent["Id"], "completed")


async def test_the_same_request_with_the_same_key_is_one_order(catalogue: RunningCatalogue) -> None:
    headers = {"Idempotency-Key": "k-1"}
    orders = await asyncio.gather(*(place(catalogue, headers=headers) for _ in range(5)))
    assert len({order["Id"] for order in orders}) == 1
    assert await catalogue.count("hook_item") == 1
    async with catalogue.http.post(catalogue.url + BATCH, data=body(Name="another"), headers=headers) as response:
        assert response.status == 409
    other = await place(catalogue, headers={"Idempotency-Key": "k-2"})
    assert other["Id"] != orders[0]["Id"]


async def test_a_production_order_is_an_order_of_one_item(catalogue: RunningCatalogue) -> None:
    reference = {"Reference": "P.SAFE", "ContentDate": {"Start": "2024-01-01T00:00:00Z", "End": "2024-01-01T00:01:00Z"}}
    order = await place(catalogue, path="/odata/v1/ProductionOrder/OData.CSC.Order", InputProductReference=reference)
    assert isinstance(order["Id"], str)
    assert order["InputProductReference"]["Reference"] == "P.SAFE"
    for path in (f"ProductionOrder({order['Id']})", f"ProductionOrders({order['Id']})"):
        assert (await ask(catalogue, path))["InputProductReference"]["ContentDate"]["Start"].startswith("2024-01-01T00:00:00")
    assert (await ask(catalogue, f"ProductionOrder({order['Id']})/Product"))["BatchOrderId"] == int(order["Id"])
    async with catalogue.http.get(f"{catalogue.url}/odata/v1/ProductionOrder({order['Id']})/Product/$value") as response:
        assert response.status == 409  # not completed yet


WRONG: list[tuple[dict[str, Any], list[Any], str]] = [
    ({"WorkflowName": "nosuch"}, ["body", "WorkflowName"], "value_error"),
    ({"WorkflowName": None}, ["body", "WorkflowName"], "string_type"),
    ({"Name": 5}, ["body", "Name"], "string_type"),
    ({"WorkflowOptions": [{"Name": "nosuch", "Value": "1"}]}, ["body", "WorkflowOptions", 0, "Name"], "extra_forbidden"),
    ({"WorkflowOptions": [{"Name": "sleep_time", "Value": "long"}]}, ["body", "WorkflowOptions", 0, "Value"], "int_parsing"),
    ({"WorkflowOptions": [{"Name": "sleep_time", "Value": -1}]}, ["body", "WorkflowOptions", 0, "Value"], "greater_than_equal"),
    ({"WorkflowOptions": [{"Name": "sleep_time", "Value": [1]}]}, ["body", "WorkflowOptions", 0, "Value"], "string_type"),
    ({"Priority": "high"}, ["body", "Priority"], "int_type"),
    ({"IdentifierList": "A"}, ["body", "IdentifierList"], "list_type"),
    ({"NotificationEndpoint": "http://10.0.0.1/"}, ["body", "NotificationEndpoint"], "url_parsing"),
    (
        {"WorkflowName": "dedl_hello_world", "WorkflowOptions": [{"Name": "output_storage", "Value": "PRIVATE"}]},
        ["body", "WorkflowOptions", "output_s3_path"],
        "missing",
    ),
    ({"WorkflowName": "sen2cor_private"}, ["body", "WorkflowName"], "value_error"),
]


async def test_what_is_wrong_is_told_with_its_place(catalogue: RunningCatalogue) -> None:
    for more, place_of_it, kind in WRONG:
        async with catalogue.http.post(catalogue.url + BATCH, data=body(**more)) as response:
            assert response.status == 422, more
            complaints = (await response.json())["detail"]
        assert [place_of_it, kind] in [[complaint["loc"], complaint["type"]] for complaint in complaints], complaints
    assert await catalogue.count("hook_order") == 0


async def test_a_body_that_is_no_json(catalogue: RunningCatalogue) -> None:
    for text in (b"", b"{", b"[]", b'{"Name": NaN}', b"\xff\xfe"):
        async with catalogue.http.post(catalogue.url + BATCH, data=text) as response:
            assert response.status == 422, text
            assert (await response.json())["detail"][0]["loc"][0] == "body"


SECRETS = {"s3_access_key": "acc-S3CR3T-1", "s3_secret_key": "sec-S3CR3T-2", "source_password": "pw-S3CR3T-3", "source_client_secret": ""}
OLDER = {
    "s3_bucket": "bucket",
    "s3_prefix": "dedl_060",
    "s3_endpoint_url": "https://s3.example.org",
    "input_catalogue_type": "STAC",
    "input_catalogue_url": "https://stac.example.org/stac",
    "source_realm": "dedl",
    "source_server_url": "https://id.example.org/auth",
    "source_username": "me",
    **SECRETS,
}


async def test_when_an_order_may_be_expected_to_end(catalogue: RunningCatalogue) -> None:
    """Medians of what took long before, and what is ahead; nothing where nothing is known."""

    async def seconds(**more: Any) -> float | None:
        order = await place(catalogue, **more)
        assert order["EstimatedDate"] == (await ask(catalogue, f"BatchOrder({order['Id']})"))["EstimatedDate"]
        if order["EstimatedDate"] is None:
            return None
        return (datetime.fromisoformat(order["EstimatedDate"]) - datetime.fromisoformat(order["SubmissionDate"])).total_seconds()

    assert await seconds(Priority=3) is None, "the first of its kind"
    database = catalogue.database
    await database.execute(
        "UPDATE hook_item SET phase = 'ended', status = 'completed', started_at = now() - interval '60 s', completed_at = now()"
    )
    assert await seconds(Priority=3) == 60
    assert await seconds(Priority=3) == 120
    assert await seconds(Priority=4, IdentifierList=["a", "b", "c"]) == 180, "ahead of the others"
    assert await seconds(Priority=3) == 60 * 6
    # Two at once, each half done: 2.5 more and two halves, by two.
    await database.execute("UPDATE hook_item SET status = 'in_progress' WHERE id IN (SELECT id FROM hook_item WHERE priority = 4 LIMIT 2)")
    assert await seconds(Priority=4) == 90
    assert await seconds(Priority=10) == 60
    await database.execute("""UPDATE hook_item SET workflow = 'data-harvest' WHERE id IN (SELECT id FROM hook_item WHERE priority = 10)""")
    assert await seconds(Priority=10) is None, "nothing is known of what is ahead"
    listed = await ask(catalogue, "BatchOrder", **{"$filter": "EstimatedDate eq null", "$orderby": "Id"})
    assert [order["Priority"] for order in listed] == [3, 10]


async def test_without_a_key_what_needs_one_is_refused_at_once(catalogue_settings: Settings) -> None:
    bucket = {"output_s3_path": "s3://mine", "output_s3_access_key": "access", "output_s3_secret_key": "secret"}
    own = {"source_catalogue_api_url": "https://catalogue.example/stac"}
    workflow = {"WorkflowName": "data-harvest", "IdentifierList": ["a"]}
    async with run_catalogue(catalogue_settings.model_copy(update={"secrets": SecretsSettings()})) as running:
        for more, places in (
            (workflow, ["output_storage"]),
            ({**workflow, "WorkflowOptions": bucket}, ["output_s3_access_key", "output_s3_secret_key"]),
            ({**workflow, "WorkflowOptions": own}, ["output_storage", "WorkflowOptions"]),
            ({"NotificationEpPassword": "secret"}, ["NotificationEpPassword"]),
        ):
            options = [{"Name": name, "Value": value} for name, value in more.get("WorkflowOptions", {}).items()]  # type: ignore[attr-defined]
            content = body(**{**more, "WorkflowOptions": options})
            async with running.http.post(running.url + BATCH, data=content.encode()) as response:
                complaints = (await response.json())["detail"]
                assert (response.status, [complaint["loc"][-1] for complaint in complaints]) == (422, places)
                assert all("secrets.keys" in complaint["msg"] for complaint in complaints)
        assert await running.count("hook_order") == 0
        await place(running)  # nothing to hand over, nothing to hide


async def test_secrets_are_sealed_and_never_told(catalogue: RunningCatalogue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    options = [{"Name": name, "Value": value} for name, value in OLDER.items()]
    order = await place(catalogue, WorkflowName="data-harvest", IdentifierList=["P"], WorkflowOptions=options)
    row = await catalogue.database.fetchrow("SELECT options::text, given::text, sealed FROM hook_order")
    assert row is not None
    assert row["sealed"]
    assert json.loads(row["options"]) == {
        "output_s3_path": "s3://bucket/dedl_060",
        "output_s3_endpoint_url": "https://s3.example.org",
        "output_storage": "PRIVATE",
        "source_catalogue_api_type": "STAC",
        "source_catalogue_api_url": "https://stac.example.org/stac",
        "source_token_url": "https://id.example.org/auth/realms/dedl/protocol/openid-connect/token",
        "source_type": "EXTERNAL",
        "source_username": "me",
    }
    seen = [json.dumps(order), row["options"], row["given"], row["sealed"].decode("latin-1"), caplog.text]
    paths = (f"BatchOrder({order['Id']})", "BatchOrder", f"BatchOrder({order['Id']})/Products", "ProductionOrders")
    seen += [json.dumps(await ask(catalogue, path)) for path in paths]
    assert all("S3CR3T" not in text for text in seen)
    async with catalogue.http.post(f"{catalogue.url}/odata/v1/BatchOrder({order['Id']})/OData.CSC.Cancel") as response:
        assert response.status == 200
    assert await catalogue.database.fetchval("SELECT sealed FROM hook_order") is None


async def test_the_end_of_an_order_is_told_until_it_is_heard(catalogue: RunningCatalogue, broker: Broker) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []

    async def endpoint(request: web.Request) -> web.Response:
        heard.append((request.headers.get("Authorization", ""), await request.json()))
        return web.Response(status=500 if len(heard) == 1 else 204)

    app = web.Application()
    app.router.add_post("/told", endpoint)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        more = {"NotificationEpUsername": "me", "NotificationEpPassword": "S3CR3T"}
        order = await _place_with_endpoint(catalogue, f"http://{host}:{port}/told", **more)
        await broker.run(JobKind.SCENE)
        await broker.run(JobKind.TILE)
        async with asyncio.timeout(20):
            while (await ask(catalogue, f"BatchOrder({order})"))["NotificationStatus"] != "sent":
                await asyncio.sleep(0.05)
    finally:
        await runner.cleanup()
    assert len(heard) == 2
    assert heard[0][0] == "Basic " + base64.b64encode(b"me:S3CR3T").decode()
    told = heard[1][1]["value"]
    assert (told["Id"], told["Status"], [item["Status"] for item in told["Products"]]) == (order, "completed", ["completed"])
    assert await catalogue.database.fetchval("SELECT notification_sealed FROM hook_order") is None


async def _place_with_endpoint(catalogue: RunningCatalogue, url: str, **more: Any) -> int:
    """The endpoint is put in afterwards: its port is known only then, and which may be told is configuration."""
    order = await place(catalogue, NotificationEndpoint="https://example.org/told", **more)
    await catalogue.database.execute("UPDATE hook_order SET notification_endpoint = $1 WHERE id = $2", url, order["Id"])
    catalogue.settings.limits.allowed_urls.append(url)
    return int(order["Id"])


@pytest.fixture
async def guarded(catalogue_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningCatalogue]:
    monkeypatch.setenv("TOKEN_ANN", "a" * 40)
    monkeypatch.setenv("TOKEN_BEN", "b" * 40)
    tokens = {name: TokenSettings(secret=f"env:TOKEN_{name.upper()}", operator=name == "ben") for name in ("ann", "ben")}
    async with run_catalogue(catalogue_settings.model_copy(update={"auth": AuthSettings(tokens=tokens)})) as running:
        yield running


async def test_orders_are_those_of_whoever_placed_them(guarded: RunningCatalogue) -> None:
    ann, ben = ({"Authorization": f"Bearer {letter * 40}"} for letter in "ab")
    order = await place(guarded, headers={**ann, "Idempotency-Key": "k"})
    other = await place(guarded, headers={**ben, "Idempotency-Key": "k"})
    number = order["Id"]
    assert other["Id"] != number
    paths = [
        f"BatchOrder({number})",
        f"BatchOrder({number})/Products",
        f"BatchOrder({number})/Product({number})",
        f"BatchOrder({number})/Product({number})/$value",
        f"ProductionOrder({number})",
        f"ProductionOrder({number})/OData.CSC.Cancel",
        f"BatchOrder({number})/OData.CSC.Cancel",
        f"BatchOrder({other['Id']})/Product({number})",
    ]
    for path in paths:
        async with guarded.http.get(f"{guarded.url}/odata/v1/{path}", headers=ben) as response:
            assert response.status == 404, path
        async with guarded.http.get(f"{guarded.url}/odata/v1/{path}") as response:
            assert response.status == 401, path
    for path in ("BatchOrder", "ProductionOrders"):
        async with guarded.http.get(f"{guarded.url}/odata/v1/{path}", headers=ben, params={"$count": "true"}) as response:
            document = await response.json()
            assert [int(each["Id"]) for each in document["value"]] == [other["Id"]]
            assert document["@odata.count"] == 1


async def test_an_item_is_taken_up_again_after_a_crash(catalogue_settings: Settings, tmp_path: Path) -> None:
    """Whatever a replica had in its hands when it died is done by the next."""
    async with run_catalogue(catalogue_settings) as first:
        await first.database.execute("ALTER TABLE scene RENAME TO scene_away")  # nothing can be ingested
        order = await place(first)
        await asyncio.sleep(0.3)
        assert (await ask(first, f"BatchOrder({order['Id']})/Products"))[0]["Status"] == "queued"
        await first.database.execute("ALTER TABLE scene_away RENAME TO scene")
        await first.database.execute("UPDATE hook_item SET due_at = now()")
    async with run_catalogue(catalogue_settings) as second, asyncio.timeout(20):
        while not await second.count("scene"):
            await asyncio.sleep(0.02)
        assert await second.database.fetchval("SELECT phase FROM hook_item") == "work"


async def test_an_aoi_that_an_operator_removes_fails_its_item(catalogue: RunningCatalogue) -> None:
    order = await place(catalogue)
    async with asyncio.timeout(10):
        while not await catalogue.count("aoi"):
            await asyncio.sleep(0.02)
    async with catalogue.http.delete(f"{catalogue.url}/aoi/order:{order['Id']}:{order['Id']}") as response:
        assert response.status == 204
    [product] = await until_status(catalogue, order["Id"], "failed")
    assert "operator" in product["StatusMessage"]


async def test_lists_are_filtered_sorted_and_paged(catalogue: RunningCatalogue) -> None:
    for name in ("one 060", "two 060", "three 061"):
        await place(catalogue, Name=name)
    names = {
        "contains(Name,'060')": {"one 060", "two 060"},
        "(endswith(Name,'061'))": {"three 061"},
        "WorkflowName eq 'odp-test' and Status ne 'completed'": {"one 060", "two 060", "three 061"},
        "workflowname eq odp-test and not contains(name, 'o')": {"three 061"},
        "Priority gt 1": set(),
        "SubmissionDate lt 2020-01-01T00:00:00Z": set(),
    }
    for condition, wanted in names.items():
        for path in ("ProductionOrders", "BatchOrder"):
            assert {each["Name"] for each in await ask(catalogue, path, **{"$filter": condition})} == wanted, condition
    async with catalogue.http.get(
        f"{catalogue.url}/odata/v1/BatchOrder", params={"$orderby": "Name desc", "$top": "2", "$count": "true"}
    ) as response:
        first = await response.json()
    assert [each["Name"] for each in first["value"]] == ["two 060", "three 061"]
    assert first["@odata.count"] == 3
    async with catalogue.http.get(first["@odata.nextLink"]) as response:
        last = await response.json()
    assert [each["Name"] for each in last["value"]] == ["one 060"]
    assert "@odata.nextLink" not in last


UNMEANT: list[dict[str, str]] = [
    {"$filter": "Nosuch eq 1"},
    {"$filter": "Name"},
    {"$filter": "((("},
    {"$filter": "Name add 1 eq 2"},
    {"$filter": "substring(Name, 1) eq 'x'"},
    {"$filter": "Name eq '\x00'"},
    {"$orderby": "Nosuch"},
    {"$orderby": "Name sideways"},
    {"$top": "1001"},
    {"$top": "-1"},
    {"$skip": "x"},
    {"$count": "perhaps"},
    {"$expand": "Nosuch"},
    {"$nosuch": "1"},
]


async def test_a_query_that_cannot_be_meant(catalogue: RunningCatalogue) -> None:
    for query in UNMEANT:
        async with catalogue.http.get(f"{catalogue.url}/odata/v1/ProductionOrders", params=query) as response:
            assert response.status == 400, query
            assert next(iter(query)) in (await response.json())["detail"]
