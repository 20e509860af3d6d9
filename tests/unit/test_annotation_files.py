"""Which members are annotations of a scene, files with holes, and what a zip or a document of others may not do."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue.sentinel1.annotations.archives import pack, read_bytes
from catalogue.sentinel1.annotations.documents import read_document
from catalogue.sentinel1.annotations.files import AnnotationError, AnnotationFile, parse_scene
from catalogue.sentinel1.annotations.http import _after_s
from catalogue.sentinel1.annotations.remote import read_remote
from common.remote_zip import SparseFile, _HoleError, ranges_of

SCENE = parse_scene("S1A_IW_SLC__1SDV_20250406T022008_20250406T022035_058630_07421F_93A7")
NAME = "s1a-iw1-slc-vv-20250406t022009-20250406t022034-058630-07421f-004.xml"


@dataclass
class Remote:
    """A file in memory that notes which ranges are read."""

    content: bytes
    where: str = "memory"
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.content)

    async def read(self, start: int, stop: int) -> bytes:
        self.asked.append((start, stop))
        return self.content[start:stop]


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        (NAME, True),
        (f"annotation/{NAME}", True),
        (f"{SCENE.text}.SAFE/annotation/{NAME}", True),
        (f"archive/2025/{SCENE.text}.SAFE/annotation/{NAME}", True),
        (f"annotation/calibration/calibration-{NAME}", False),
        (f"annotation/calibration/{NAME}", False),
        (f"annotation/rfi/{NAME}", False),
        (f"noise/{NAME}", False),
        (f"annotation/deeper/{NAME}", False),
        (f"{SCENE.text[:-4]}0000.SAFE/annotation/{NAME}", False),
        (NAME.replace("s1a", "s1b"), False),
        (NAME.replace("058630", "058631"), False),
        (NAME.replace("07421f", "074220"), False),
        (NAME.upper(), False),
        (NAME.replace(".xml", ".tiff"), False),
        (NAME + "\n", False),
        ("s1a-iw1-slc-vv-20250406t022034-20250406t022059-058630-07421f-004.xml", False),  # the next slice of the data take
        ("s1a-iw1-slc-vv-20250406t021944-20250406t022009-058630-07421f-004.xml", False),  # the one before
        ("s1a-iw1-slc-vv-20259906t022009-20250406t022034-058630-07421f-004.xml", False),
        ("s1a-s3-slc-hh-20250406t022009-20250406t022034-058630-07421f-001.xml", True),
        ("s1a-wv1-slc-vv-20250406t022009-20250406t022012-058630-07421f-001.xml", True),
        ("s1a-iw-grd-vv-20250406t022009-20250406t022034-058630-07421f-001.xml", True),
        ("", False),
    ],
)
def test_which_members_are_annotations_of_the_scene(path: str, is_one: bool) -> None:
    assert SCENE.holds(path) is is_one


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../etc/passwd",
        f"{SCENE.text}/../x",
        f"{SCENE.text}/x",
        f"{SCENE.text}\n",
        SCENE.text.replace("20250406T022008", "20251306T022008"),
        "S2A_MSIL1C_20250406T000000_N0500_R001_T31UFT_20250406T000000",
        "LC08_L2SP_005009_20150710_20200908_02_T2",
    ],
)
def test_names_that_are_no_scene(name: str) -> None:
    with pytest.raises(AnnotationError):
        parse_scene(name)


@given(st.binary(max_size=400), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 100)), max_size=8), st.data())
def test_a_file_with_holes_reads_like_the_whole_or_names_the_hole(
    content: bytes, known: Sequence[tuple[int, int]], data: st.DataObject
) -> None:
    sparse, whole = SparseFile(len(content)), io.BytesIO(content)
    for start, length in known:
        if start < len(content):
            sparse.fill(start, content[start : start + length])
    for _ in range(5):
        place, size = data.draw(st.integers(0, len(content) + 5)), data.draw(st.integers(-1, 120))
        assert sparse.seek(place) == whole.seek(place)
        expected = whole.read(size)
        for _ in range(20):
            try:
                assert sparse.read(size) == expected
                break
            except _HoleError as error:
                hole = error.hole
                assert place <= hole.start < hole.stop <= len(content)
                sparse.fill(hole.start, content[hole.start : hole.stop])
        else:
            pytest.fail("the holes do not end")
        assert sparse.tell() == whole.tell()


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**5)), max_size=20))
def test_ranges_hold_every_member_and_do_not_overlap(places: Sequence[tuple[int, int]]) -> None:
    members = []
    for offset, size in places:
        member = zipfile.ZipInfo(NAME)
        member.header_offset, member.compress_size = offset, size
        members.append(member)
    ranges = ranges_of(members, 10**7)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
    for offset, size in places:
        needed = (offset, min(10**7, offset + 30 + len(NAME) + size))
        assert needed[0] >= needed[1] or any(start <= needed[0] and needed[1] <= stop for start, stop in ranges)


async def test_neighbours_come_in_one_range_and_the_rest_stays_away() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("big-before", bytes(10**6))
        archive.writestr(f"annotation/{NAME}", b"<product>1</product>")
        archive.writestr("small-between", bytes(1000))
        archive.writestr(f"annotation/{NAME.replace('-vv-', '-vh-')}", b"<product>2</product>")
        archive.writestr("big-behind", bytes(10**6))
    remote = Remote(target.getvalue())
    found = await read_remote(remote, SCENE)
    assert [each.content for each in found] == [b"<product>2</product>", b"<product>1</product>"]
    assert len(remote.asked) == 2
    assert sum(stop - start for start, stop in remote.asked) < 80_000


async def test_a_remote_zip_with_long_extra_fields_and_data_in_front() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        member = zipfile.ZipInfo(f"annotation/{NAME}")
        member.extra = b"\xfe\xca" + (60_000).to_bytes(2, "little") + bytes(60_000)
        archive.writestr(member, b"<product>1</product>")
        archive.writestr("big-behind", bytes(10**6))
    for front in (b"", b"#!/bin/sh\n" * 100):
        remote = Remote(front + target.getvalue())
        assert await read_remote(remote, SCENE) == [AnnotationFile(NAME, b"<product>1</product>")]


async def test_a_remote_zip_with_an_endless_table_of_contents_is_refused() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(NAME, b"<product/>")
    content = bytearray(bytes(20 * 2**20) + target.getvalue())
    place = content.rindex(b"PK\x05\x06")
    content[place + 12 : place + 16] = (18 * 2**20).to_bytes(4, "little")
    remote = Remote(bytes(content))
    with pytest.raises(AnnotationError, match="has a table of contents of"):
        await read_remote(remote, SCENE)
    assert sum(stop - start for start, stop in remote.asked) < 10**5


@pytest.mark.parametrize(
    ("what", "why"), [("method", "is neither stored nor deflated"), ("encrypted", "is encrypted"), ("packed", "has 3000000000 bytes")]
)
async def test_members_that_are_not_read(what: str, why: str) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(NAME, b"<product/>", zipfile.ZIP_BZIP2 if what == "method" else zipfile.ZIP_STORED)
        if what == "encrypted":
            archive.getinfo(NAME).flag_bits |= 1
        if what == "packed":
            archive.getinfo(NAME).compress_size = 3_000_000_000
    for content in (target.getvalue(), bytes(70_000) + target.getvalue()):
        with pytest.raises(AnnotationError, match=rf"{NAME}' of {SCENE.text} {why}"):
            await read_remote(Remote(content), SCENE)


@given(st.binary(max_size=300))
def test_any_bytes_give_annotations_or_an_error_of_ours(content: bytes) -> None:
    with pytest.raises(AnnotationError):
        read_bytes(content, SCENE, "here")


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_zip_gives_the_annotations_or_an_error_of_ours(place: int, value: int) -> None:
    target = io.BytesIO()
    files = [AnnotationFile(NAME, b"<product>1</product>" * 50)]
    pack(files, SCENE, target)
    content = bytearray(target.getvalue())
    content[place % len(content)] = value
    try:
        assert read_bytes(bytes(content), SCENE, "here") == files
    except AnnotationError as error:
        assert "here" in str(error)  # noqa: PT017


def test_a_document_is_cut_into_its_annotations() -> None:
    other = NAME.replace("iw1", "iw2")
    document = f"""\ufeff<burst><manifest/><metadata>
        <product source_filename="{NAME}"><swath>IW1</swath><content><a>é &amp; <content>x</content></a></content></product>
        <noise source_filename="noise-{NAME}"><content><n/></content></noise>
        <product source_filename="{NAME.replace("058630", "999999")}"><content><b/></content></product>
        <product source_filename="{other}"><content><c/></content></product>
        </metadata></burst>""".encode()
    found = read_document(document, SCENE, "here")
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<product>'
    assert found == [
        AnnotationFile(NAME, f"{head}<a>é &amp; <content>x</content></a></product>\n".encode()),
        AnnotationFile(other, f"{head}<c/></product>\n".encode()),
    ]


@pytest.mark.parametrize("inner", ["", "<content/>", "<swath>IW1</swath>"])
def test_a_document_with_an_empty_annotation(inner: str) -> None:
    document = f'<burst><metadata><product source_filename="{NAME}">{inner}</product></metadata></burst>'.encode()
    with pytest.raises(AnnotationError, match="is empty"):
        read_document(document, SCENE, "here")


def test_how_long_a_server_asks_to_wait() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert _after_s("7") == 7
    assert 0 < (_after_s(format_datetime(soon, usegmt=True)) or 0) <= 30
    assert all(_after_s(text) is None for text in ("", "soon", "-1", "9" * 400))
