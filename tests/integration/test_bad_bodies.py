"""Requests that cannot be read: bodies of the wrong kind, broken, packed or too large, and parts of forms nobody asked for."""

from __future__ import annotations

import gzip
import zlib

import pytest
from fixtures_bad_input import WKT, Case, check_refused, form
from fixtures_services import RunningCatalogue
from fixtures_workflow import payload, scenes

pytestmark = pytest.mark.asyncio(loop_scope="module")

MULTIPART = "multipart/form-data; boundary=B"
FORM = "application/x-www-form-urlencoded"
FIFTY_MB = b"a" * 50 * 2**20
GOOD = payload().encode()


def multipart(*parts: bytes, end: bytes = b"--B--\r\n") -> bytes:
    return b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + end


def part(name: bytes, value: bytes, *headers: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"\r\n' + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + value


def raw(name: str, field: str | None, body: bytes, content_type: str, status: int = 400, **headers: str) -> Case:
    return Case(f"body-{name}", body, field, status, {"Content-Type": content_type, **{k.replace("_", "-"): v for k, v in headers.items()}})


BODIES = [
    raw("50-mb-json", "area", FIFTY_MB, "application/json", 413),
    raw("50-mb-multipart", "area", multipart(part(b"area", FIFTY_MB)), MULTIPART, 413),
    raw("50-mb-unknown-part", "junk", multipart(part(b"junk", FIFTY_MB)), MULTIPART, 413),
    raw("empty", "area", b"", "application/json"),
    raw("not-json", "area", b"w", "application/json"),
    raw("gzip", "area", gzip.compress(GOOD), "application/json"),
    raw("gzip-declared-but-not", "area", GOOD, "application/json", Content_Encoding="gzip"),
    raw("gzip-bomb", "area", gzip.compress(b" " * 2**26), "application/json", 413, Content_Encoding="gzip"),
    raw("gzip-cut-short", "area", gzip.compress(GOOD)[:-30], "application/json", Content_Encoding="gzip"),
    raw("encoding-unknown", "area", b"\x00\x01", "application/json", Content_Encoding="rot13"),
    raw("charset-unknown", "area", b"\x00\x01", "application/json; charset=klingon"),
    raw("multipart-without-boundary", None, multipart(part(b"area", GOOD)), "multipart/form-data"),
    raw("multipart-of-another-boundary", None, multipart(part(b"area", GOOD)), "multipart/form-data; boundary=C"),
    raw("multipart-boundary-too-long", None, multipart(part(b"area", GOOD)), "multipart/form-data; boundary=" + "B" * 100),
    raw("multipart-broken-header", None, multipart(b"Content-Disposition form-data\r\n\r\nx"), MULTIPART),
    raw("multipart-header-too-long", None, multipart(b"X-A: " + b"a" * 100_000 + b"\r\n\r\nx"), MULTIPART),
    raw("multipart-too-many-headers", None, multipart(b"".join(b"X-%d: a\r\n" % n for n in range(500)) + b"\r\nx"), MULTIPART),
    raw("multipart-without-names", None, multipart(b"Content-Type: text/plain\r\n\r\nx"), MULTIPART),
    raw("multipart-cut-short", None, multipart(part(b"area", GOOD), end=b"")[:-50], MULTIPART),
    raw("multipart-within", None, multipart(b"Content-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n\r\nx\r\n--C--"), MULTIPART),
    raw("multipart-empty", "area", b"", MULTIPART),
    raw("multipart-no-parts", "area", multipart(), MULTIPART),
    raw("multipart-many-parts", None, multipart(*[part(b"area", b"{}")] * 1500), MULTIPART),
    raw("part-bomb", "area", multipart(part(b"area", zlib.compress(b" " * 2**26), b"Content-Encoding: deflate")), MULTIPART),
    raw("part-base64-broken", None, multipart(part(b"area", b"a", b"Content-Transfer-Encoding: base64")), MULTIPART),
    raw("part-transfer-unknown", None, multipart(part(b"area", GOOD, b"Content-Transfer-Encoding: rot13")), MULTIPART),
    raw("form-broken", None, b"area", FORM),
    raw("form-invalid-utf-8", None, b"area=\xff", FORM),
    raw("form-percent", "area", b"area=%ff%00", FORM),
    raw("form-unknown-field", "aria", b"aria=1", FORM),
    Case("field-unknown", form(area=payload(), aria="x"), "aria"),
    raw("field-with-nul", "a\\x00", b"a%00=1", FORM),
    Case("field-missing", form(scenes=scenes(1)), "area"),
    Case(
        "tiles-twice",
        multipart(part(b"area", GOOD), part(b"tiles", scenes(1).encode()), part(b"tiles", scenes(1).encode())),
        "tiles",
        headers={"Content-Type": MULTIPART},
    ),
    Case(
        "batch-with-tiles",
        multipart(part(b"area", GOOD), part(b"area", GOOD), part(b"tiles", scenes(1).encode())),
        "tiles",
        headers={"Content-Type": MULTIPART},
    ),
    *(
        Case(f"query-{key}-{number}", form(area=payload(), tiles=scenes(1)), key, path=f"/catalog/aoi?{key}={value}")
        for key in ("page", "limit")
        for number, value in enumerate(("-1", "x", "1e3", "9" * 30, "%00", "%D9%A1"))
    ),
    Case("query-limit-too-large", form(area=payload(), tiles=scenes(1)), "limit", path="/catalog/aoi?limit=999999999"),
    Case("query-area-broken", b"", "area", path="/catalog/aoi?area=%7B"),
    Case(
        "scenes-two-areas",
        multipart(part(b"area", GOOD), part(b"area", GOOD)),
        "area",
        headers={"Content-Type": MULTIPART},
        path="/catalog/scenes",
    ),
    Case("scenes-bad-area", form(area=payload(name="a b")), "name", path="/catalog/scenes"),
    Case("tiles-bad-area", form(area=payload(name="a b")), "name", path="/catalog/tiles"),
    Case(
        "tiles-bad-wkt",
        form(area=payload(), scenes=scenes(1).replace(WKT, "POLYGON ((0 0))")),
        "scenes.features.0.properties.wkt",
        path="/catalog/tiles",
    ),
]


@pytest.mark.parametrize("case", BODIES, ids=lambda case: case.name)
async def test_bad_request(assailed: RunningCatalogue, case: Case) -> None:
    await check_refused(assailed, case)
