"""An OData catalogue that is busy, broken, silent or hostile, and searches it cannot answer."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime

import pytest
from fixtures_odata_search import AMERICAS, GRD, PATAGONIA, ODataServer, catalogue, deque_of, expected, names, payload

from catalogue.inventory import find_scenes
from common.errors import UpstreamError, UserError
from tests.odata_replay import Fault, Product


async def test_all_requests_wait_as_long_as_one_was_told_to(products: list[Product], odata_server: ODataServer) -> None:
    """With a single retry each, any that came back sooner would fail."""
    replay = odata_server(products, penalty_s=1.0, retry_after="2")
    asked = payload("sentinel1", AMERICAS, GRD, start_time="2025-01-01T00:00:00Z")
    found = await find_scenes(asked, [catalogue(replay, slice_days=60, retries=1)])
    assert set(names(found.scenes)) == expected(products, asked)
    assert 1 <= replay.statuses.count(429) <= 4
    assert replay.statuses.count(200) == len(set(replay.filters)) == 13


async def test_retry_after_is_honoured_as_seconds_and_as_date(products: list[Product], odata_server: ODataServer) -> None:
    past = format_datetime(datetime.fromisoformat("2020-01-01T00:00:00+00:00"), usegmt=True)
    replay = odata_server(products, faults=deque_of(Fault(429, {"Retry-After": "1"}), Fault(503, {"Retry-After": past})))
    asked = payload("sentinel1", PATAGONIA, GRD)
    found = await find_scenes(asked, [catalogue(replay)])
    assert set(names(found.scenes)) == expected(products, asked)
    assert replay.statuses == [429, 503, 200]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(400, body=b'{"detail": "Invalid field: Nme"}'), r"HTTP 400: Invalid field: Nme"),
        (Fault(422, body=b'{"detail": [{"loc": ["query"], "msg": "too large"}]}'), r"HTTP 422: too large"),
        (Fault(403, body=b'{"detail": {"message": "no access", "request_id": "1"}}'), r"HTTP 403: no access"),
        (Fault(404, body=b"<html><h1>Not   Found</h1></html>"), r"HTTP 404: Not Found"),
        (
            Fault(301, {"Location": "https://elsewhere.example.com/odata/v1/Products?x"}),
            r"leads to https://elsewhere\.example\.com/odata/v1/Products:",
        ),
        (Fault(200, body=b"<html>maintenance</html>"), r"not JSON but HTML: 'maintenance'"),
        (Fault(200, body=b'{"value": [{"Id": '), r"not JSON but something else"),
        (Fault(200, body=b"[" * 100_000), r"not JSON"),
        (Fault(200, body=b'{"detail": "busy"}'), r"no list 'value': busy"),
        (Fault(200, body=b"[1]"), r"no list 'value'"),
    ],
)
async def test_what_is_no_answer_is_told_in_a_sentence(
    products: list[Product], odata_server: ODataServer, fault: Fault, message: str
) -> None:
    replay = odata_server(products, faults=deque_of(fault))
    with pytest.raises(UpstreamError, match=message) as raised:
        await find_scenes(payload("sentinel1", PATAGONIA, GRD), [catalogue(replay, retries=0)])
    assert "$filter" not in str(raised.value)
    assert len(str(raised.value)) < 600


async def test_patience_ends(products: list[Product], odata_server: ODataServer) -> None:
    replay = odata_server(products, every={1: Fault(503, {"Retry-After": "0"})})
    with pytest.raises(UpstreamError, match="HTTP 503: Service Unavailable"):
        await find_scenes(payload("sentinel1", PATAGONIA, GRD), [catalogue(replay, retries=2)])
    assert replay.statuses == [503, 503, 503]


async def test_silence_and_absence_are_told(products: list[Product], odata_server: ODataServer) -> None:
    slow = odata_server(products, every={1: Fault(200, delay_s=2.0)})
    with pytest.raises(UpstreamError, match="no answer in time"):
        await find_scenes(payload("sentinel1", PATAGONIA, GRD), [catalogue(slow, retries=0, timeout_s=0.2)])
    gone = catalogue(odata_server(products), url="http://user:secret@127.0.0.1:9/odata/v1", retries=0)
    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1:9") as raised:
        await find_scenes(payload("sentinel1", PATAGONIA, GRD), [gone])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("link", ["http://127.0.0.2:1/odata/v1/Products?$skip=4", "file:///etc/passwd", "http://[::1", "ftp://127.0.0.1/"])
async def test_the_next_page_must_be_on_the_same_host(products: list[Product], odata_server: ODataServer, link: str) -> None:
    replay = odata_server(products, next_of=lambda _: link)
    with pytest.raises(UpstreamError, match="not on the same host"):
        await find_scenes(payload("sentinel1", AMERICAS, GRD), [catalogue(replay, page_size=4)])
    assert len(replay.urls) == 1


async def test_a_next_link_behind_a_proxy_is_followed_where_we_came_from(products: list[Product], odata_server: ODataServer) -> None:
    """A service that does not know its own scheme and port, or links by path alone."""
    for change in (lambda link: re.sub(r"http://127\.0\.0\.1:\d+", "https://127.0.0.1", link), lambda link: link[link.index("/odata") :]):
        replay = odata_server(products, next_of=change)
        asked = payload("sentinel1", AMERICAS, GRD)
        assert set(names((await find_scenes(asked, [catalogue(replay, page_size=4)])).scenes)) == expected(products, asked)


async def test_pages_that_do_not_advance_are_told(products: list[Product], odata_server: ODataServer) -> None:
    replay = odata_server(products, next_of=lambda link: re.sub(r"%24skip=\d+", "%24skip=0", link))
    with pytest.raises(UpstreamError, match="do not advance"):
        await find_scenes(payload("sentinel1", AMERICAS, GRD), [catalogue(replay, page_size=4)])


async def test_too_many_are_refused(products: list[Product], odata_server: ODataServer) -> None:
    with pytest.raises(UserError, match="lists more than 9 products"):
        await find_scenes(payload("sentinel1", AMERICAS, GRD), [catalogue(odata_server(products), max_items=9, page_size=4)])


async def test_another_catalogue_answers_where_one_fails(products: list[Product], odata_server: ODataServer) -> None:
    broken, whole = odata_server(products, every={1: Fault(500)}), odata_server(products)
    asked = payload("sentinel1", PATAGONIA, GRD)
    found = await find_scenes(asked, [catalogue(broken, retries=0), catalogue(whole, name="creodias")])
    assert set(names(found.scenes)) == expected(products, asked)
    assert any("copernicus" in note and "HTTP 500" in note for note in found.notes)


@pytest.mark.parametrize(("constellation", "parameters"), [("landsat89", {}), ("sentinel1", {"producttype": "OCN"}), ("phr", {})])
async def test_what_it_does_not_hold_is_not_asked_for(odata_server: ODataServer, constellation: str, parameters: dict[str, str]) -> None:
    replay = odata_server([])
    with pytest.raises(UserError, match="no configured catalogue"):
        await find_scenes(payload(constellation, PATAGONIA, parameters), [catalogue(replay)])
    assert not replay.urls


async def test_unknown_parameters_are_refused_before_anything_is_asked(odata_server: ODataServer) -> None:
    replay = odata_server([])
    with pytest.raises(UserError, match="known are filename, orbitdirection, polarisationmode") as raised:
        await find_scenes(payload("sentinel1", PATAGONIA, {"swath": "IW1"}), [catalogue(replay)])
    assert raised.value.field == "scene_type.parameters.swath"
    assert not replay.urls
