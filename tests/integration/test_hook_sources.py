"""From identifiers to scenes: partners and series, names with and without `.SAFE`, and catalogues that lead where nobody may go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import shapely
from aiohttp import web
from aiohttp.test_utils import TestServer
from order_source import CLIENT, COLLECTION, PASSWORD, USER, Listed, OrderSource
from pydantic import SecretStr

from catalogue.external.base import FoundScenes, SceneQuery
from catalogue.hook.companions import find_pair, find_series
from catalogue.hook.finders import ConfiguredFinder, Finder, ODataFinder, StacFinder, place_of
from catalogue.hook.orders import ItemError
from catalogue.hook.source_http import SourceReader, family_of
from common.errors import StorageError, TemporaryError, UpstreamError, UserError
from common.order_access import Login
from common.product_names import parse_product_name
from common.storage.foreign import foreign_client
from common.storage.s3 import S3Keys, s3_errors

HERE = shapely.box(10, 50, 12, 51)


def slc(date: str, orbit: int = 50560, *, place: shapely.Polygon = HERE, track: int = 139, kind: str = "SLC__1SDV") -> Listed:
    name = f"S1A_IW_{kind}_{date}T172417_{date}T172444_{orbit:06d}_06170F_59DF"
    return Listed(name, place, track)


SCENE = slc("20230930")


async def partners(others: list[Listed], days: float = 24, kind: type[StacFinder] | type[ODataFinder] = StacFinder) -> list[str]:
    """Dates of the partners that a catalogue with these gives the scene."""
    async with OrderSource({each.name: each for each in [SCENE, *others]}) as source, reader_of(source) as reader:
        finder: Finder = StacFinder(reader, f"{source.url}/stac") if kind is StacFinder else ODataFinder(reader, f"{source.url}/odata/v1")
        scene = await finder.named(SCENE.name, COLLECTION if kind is StacFinder else "")
        assert scene is not None
        found = await find_pair(finder, scene, days, "")
        assert SCENE.name in [each.source_id for each in found]
        assert [each.data.date for each in found] == sorted(each.data.date for each in found)
        return [each.source_id.split("_")[5][:8] for each in found if each.source_id != SCENE.name]


def reader_of(source: OrderSource) -> SourceReader:
    login = Login(token_url=source.token_url, username=USER, password=PASSWORD, client_id=CLIENT)
    return SourceReader([source.url], login, family_of(f"{source.url}/stac", []))


@pytest.mark.parametrize("kind", [StacFinder, ODataFinder], ids=["stac", "odata"])
async def test_the_partner_is_the_nearest_of_the_same_orbit_and_place(kind: type[StacFinder] | type[ODataFinder]) -> None:
    others = [
        slc("20230906"),
        slc("20230918"),
        slc("20230924", track=37),  # nearer, but seen from elsewhere
        slc("20230929", kind="GRDH_1SDV"),  # no SLC
        slc("20231001", place=shapely.box(30, 50, 32, 51)),  # somewhere else
        slc("20231112"),  # too late
    ]
    assert await partners(others, kind=kind) == ["20230918"]


async def test_of_two_equally_near_partners_it_is_the_earlier_and_only_within_the_timespan() -> None:
    assert await partners([slc("20230918"), slc("20231012")]) == ["20230918"]
    assert await partners([slc("20230906"), slc("20231012")]) == ["20231012"]
    with pytest.raises(ItemError, match=r"no partner: no other SLC of relative orbit \d+ covers it within 11 days"):
        await partners([slc("20230918"), slc("20231012")], 11)


async def test_slices_of_a_partner_that_lie_otherwise_cover_the_scene_together() -> None:
    west, east = slc("20230918", 50385, place=shapely.box(9, 50, 11, 51)), slc("20230918", 50385, place=shapely.box(11, 50, 13, 51))
    east = Listed(east.name.replace("T172417_", "T172442_"), east.footprint, east.relative_orbit)
    assert await partners([west, east, slc("20230918", 50386, place=shapely.box(11.99, 50, 14, 51))]) == ["20230918", "20230918"]


async def test_only_slc_products_have_partners() -> None:
    grd = slc("20230930", kind="GRDH_1SDV")
    async with OrderSource({grd.name: grd}) as source, reader_of(source) as reader:
        finder = StacFinder(reader, f"{source.url}/stac")
        scene = await finder.named(grd.name, COLLECTION)
        assert scene is not None
        with pytest.raises(ItemError, match="only of those there are pairs"):
            await find_pair(finder, scene, 24, "")


def l1c(date: str, tile: str = "T31UFT", baseline: str = "0509", level: str = "1C") -> Listed:
    return Listed(f"S2A_MSIL{level}_{date}T104021_N{baseline}_R008_{tile}_{date}T215503", shapely.box(4, 50, 5, 51))


@pytest.mark.parametrize("kind", [StacFinder, ODataFinder], ids=["stac", "odata"])
async def test_a_series_is_the_level_1c_of_one_tile_up_to_its_end(kind: type[StacFinder] | type[ODataFinder]) -> None:
    end = l1c("20230601", level="2A")
    listed = [
        end,
        *(l1c(date) for date in ("20230601", "20230522", "20230529", "20230601", "20230603", "20230510")),
        l1c("20230529", baseline="0510"),  # processed again
        l1c("20230527", "T31UGT"),
        l1c("20230525", level="2A"),
    ]
    async with OrderSource({each.name: each for each in listed}) as source, reader_of(source) as reader:
        finder: Finder = StacFinder(reader, f"{source.url}/stac") if kind is StacFinder else ODataFinder(reader, f"{source.url}/odata/v1")
        found = await find_series(finder, end.name, 18, "")
        assert [each.source_id.split("_")[2][:8] + "_" + each.source_id.split("_")[3] for each in found] == [
            "20230522_N0509",
            "20230529_N0510",
            "20230601_N0509",
        ]
        with pytest.raises(ItemError, match="series is to end with"):
            await find_series(finder, l1c("20230530", level="2A").name, 18, "")


class Recorded:
    """A configured catalogue that knows some products, or none, or does not answer."""

    name = "recorded"

    def __init__(self, listed: Sequence[Any] = (), error: Exception | None = None) -> None:
        self.listed, self.error, self.asked = list(listed), error, list[SceneQuery]()

    def supports(self, _: object) -> bool:
        return True

    async def search(self, query: SceneQuery) -> FoundScenes:
        self.asked.append(query)
        if self.error is not None:
            raise self.error
        return FoundScenes(self.listed)


async def test_configured_catalogues_are_asked_in_turn() -> None:
    async with OrderSource({SCENE.name: SCENE}) as source, reader_of(source) as reader:
        scene = await StacFinder(reader, f"{source.url}/stac").named(SCENE.name, COLLECTION)
    broken, knowing = Recorded(error=UpstreamError("away")), Recorded([scene])
    found = await ConfiguredFinder([broken, Recorded(), knowing]).named(SCENE.name, "")
    assert found == scene
    query = knowing.asked[0]
    assert query.start < found.data.date < query.end
    assert (query.filter.product_type, query.filter.filename) == ("SLC", SCENE.name)
    assert await ConfiguredFinder([Recorded([scene])]).named(SCENE.name[:-4] + "AAAA", "") is None
    with pytest.raises(UpstreamError):  # it may know it when it answers again
        await ConfiguredFinder([broken, Recorded()]).named(SCENE.name, "")
    with pytest.raises(ItemError, match="name its catalogue"):
        await ConfiguredFinder([knowing]).named("something-else", "")


@pytest.mark.parametrize(
    ("tile", "point"),
    [("T32UNA", (9.5, 50)), ("T60WWV", (178, 68)), ("T01KAB", (-179.5, -18)), ("T33XWJ", (16, 79)), ("T31NAA", (0.5, 0.4))],
)
def test_a_tile_lies_in_its_zone(tile: str, point: tuple[float, float]) -> None:
    name = parse_product_name(f"S2A_MSIL1C_20230910T050701_N0509_R019_{tile}_20230910T074321")
    area = place_of(name)
    assert area.is_valid
    assert area.intersects(shapely.Point(point))
    assert area.area < 16 * 15
    assert shapely.box(-180, -90, 180, 90).covers(area)


# --- where an order must not lead --------------------------------------------------------------------------------------------------


@pytest.fixture
async def inside() -> AsyncIterator[tuple[str, list[str]]]:
    """A server of the private network, and what it was asked."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response({"type": "Feature", "secret": "of the inside"})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    yield str(server.make_url("")).rstrip("/"), seen
    await server.close()


async def test_a_catalogue_does_not_lead_into_the_private_network(inside: tuple[str, list[str]]) -> None:
    url, seen = inside
    port = url.rpartition(":")[2]
    async with OrderSource({SCENE.name: SCENE}) as source:
        source.redirect = f"{url}/latest/meta-data"
        async with reader_of(source) as reader:
            with pytest.raises(ItemError, match="not below an allowed prefix"):
                await StacFinder(reader, f"{source.url}/stac").named(SCENE.name, COLLECTION)
        hosts = ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0"]
        for place in [f"http://{host}:{port}/stac" for host in hosts]:
            async with SourceReader(["http://", "https://"], None, []) as reader:
                with pytest.raises(ItemError, match=r"private host|is not a URL|not below"):
                    await reader.get(place)
    assert seen == []


async def test_a_public_name_of_a_private_address_is_refused(inside: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, seen = inside
    port, real = int(url.rpartition(":")[2]), socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: real("127.0.0.1", *rest, **more))
    rebound = f"http://bucket.example.org:{port}"
    async with SourceReader(["http://"], None, []) as reader:
        with pytest.raises(ItemError, match="private host"):
            await reader.get(rebound)
    async with SourceReader(
        ["http://"], Login(token_url=f"{rebound}/token", username="a", password="b"), ["http://bucket.example.org"]
    ) as reader:
        with pytest.raises(ItemError, match="private host"):
            await reader.get("http://bucket.example.org/stac")
    client = foreign_client(rebound, S3Keys(SecretStr("key"), SecretStr("secret")), ["http://", "https://"])
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(StorageError, match="private network"), s3_errors(client, "bucket", "s3://bucket/key"):
        client.put_object(Bucket="bucket", Key="key", Body=b"x")
    assert seen == []
    # What the deployment names in full may be asked.
    client = foreign_client(rebound, S3Keys(SecretStr("key"), SecretStr("secret")), [rebound])
    await asyncio.to_thread(client.head_bucket, Bucket="bucket")
    assert seen == ["/bucket"]


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9000", "file:///etc", "https://10.0.0.1", "https://user:pw@s3.example.org", "ftp://x.org"]
)
def test_an_endpoint_that_cannot_be_meant_is_refused(endpoint: str) -> None:
    with pytest.raises(UserError):
        foreign_client(endpoint, S3Keys(SecretStr("key"), SecretStr("secret")), ["https://", "http://", "file://", "ftp://"])


async def test_a_token_is_shown_to_the_family_of_the_catalogue_alone() -> None:
    families = ["https://*.data.example.org", "https://*.other.org"]
    assert family_of("https://hda.data.example.org/stac", families) == ["https://hda.data.example.org", "https://*.data.example.org"]
    assert family_of("https://data.example.org.evil.net/stac", families) == ["https://data.example.org.evil.net"]
    assert family_of("http://hda.data.example.org/stac", families) == ["http://hda.data.example.org"]
    assert family_of("https://hda.data.example.org:8443/stac", families) == ["https://hda.data.example.org:8443"]


async def test_a_source_that_is_broken_is_told_or_tried_again() -> None:
    answers: dict[str, web.Response] = {
        "/busy": web.Response(status=503),
        "/refused": web.Response(status=403),
        "/wrong": web.Response(status=400),
        "/html": web.Response(text="<html>"),
        "/deep": web.Response(text="[" * 100_000),
    }

    async def answer(request: web.Request) -> web.Response:
        return answers.get(request.path, web.Response(status=404))

    async def round_and_round(request: web.Request) -> web.Response:
        raise web.HTTPFound("/round")

    app = web.Application()
    app.router.add_get("/round", round_and_round)
    app.router.add_get("/{tail:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    url = str(server.make_url("")).rstrip("/")
    try:
        async with SourceReader([url], None, []) as reader:
            assert await reader.get(f"{url}/missing") is None
            with pytest.raises(TemporaryError):
                await reader.get(f"{url}/busy")
            for path, reason in {
                "refused": "refuses access",
                "wrong": "HTTP 400",
                "html": "JSON",
                "deep": "JSON",
                "round": "without an end",
            }.items():
                with pytest.raises(ItemError, match=reason):
                    await reader.get(f"{url}/{path}")
    finally:
        await server.close()
    async with SourceReader([url], None, []) as reader:
        with pytest.raises(TemporaryError, match="connection failed"):
            await reader.get(f"{url}/gone")
