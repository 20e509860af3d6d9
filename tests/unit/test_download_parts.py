"""Which members of a product are wanted, which hosts count together, when a provider is left alone, where secrets are and are not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from catalogue.graphs import GraphShelf
from catalogue.workflow.decisions import decide
from catalogue.workflow.status import Status
from common.config import AccountSettings, ProviderSettings, Settings, load_settings
from common.errors import ConfigurationError, ErrorKind, FatalError, TemporaryError, ThresherError, UserError
from common.graph.document import parse_graph
from common.messages import Outcome
from downloader.accounts import Accounts
from downloader.accounts.base import Origins
from downloader.circuit import Circuit
from downloader.leases import LocalLeases
from downloader.members import Members, wanted_members
from downloader.shared import Shared

SECRET = "hunter2-is-the-password"


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("X.SAFE/annotation/s1a-iw1-vv.xml", True),
        ("./X.SAFE/annotation/calibration/noise.xml", True),
        ("annotation/s1a-iw1-vv.xml", True),
        ("X.SAFE/measurement/s1a-iw1-slc-vv.tiff", True),
        ("X.SAFE/measurement/S1A-IW1-SLC-VV.TIFF", True),
        ("X.SAFE/measurement/s1a-iw1-slc-vh.tiff", False),
        ("X.SAFE/manifest.safe", True),
        ("X.SAFE/preview/annotation/x.xml", False),
        ("X.SAFE/deep/down/README.md", True),
        ("X.SAFE/README.md.txt", False),
    ],
)
def test_patterns_of_members(path: str, wanted: bool) -> None:
    assert Members(("annotation/*", "measurement/*vv*", "readme.md")).wants(path) is wanted
    assert Members().wants(path)


def test_patterns_that_fit_nothing_are_a_mistake() -> None:
    with pytest.raises(FatalError, match="measurment"):
        Members(("measurment/*",)).of(["X.SAFE/manifest.safe", "X.SAFE/measurement/a.tiff"], "X")


def test_what_the_payload_says_of_members_comes_before_the_graph() -> None:
    graph = parse_graph('{"product_members": ["annotation/*"]}', "g")
    assert wanted_members(graph, {}).patterns == ("annotation/*",)
    assert wanted_members(graph, {"product_members": "a/*, b"}).patterns == ("a/*", "b")
    assert not wanted_members(parse_graph("{}", "g"), {})
    of_swaths = parse_graph('{"product_members": ["annotation/*-{swath}-*", "support/*"]}', "g")
    assert wanted_members(of_swaths, {}, ["IW2", "", "IW1", "IW2"]).patterns == ("annotation/*-iw1-*", "annotation/*-iw2-*", "support/*")
    assert wanted_members(of_swaths, {}, [""]).patterns == ("annotation/*-*-*", "support/*")


def test_what_tile_graphs_need_is_asked_for_where_the_scene_graph_only_hands_on(tmp_path: Path) -> None:
    def graph(name: str, **document: object) -> None:
        (tmp_path / f"{name}.json").write_text(json.dumps(document))

    graph("Some", product_members=["annotation/*"])
    graph("More", product_members=["measurement/*", "annotation/*"])
    graph("All")
    graph("Steps", processing_steps=[{"engine": "python", "command": "x.py"}])
    shelf = GraphShelf([tmp_path], ["python"])
    assert shelf.members_for("CopyProductToStorage", ["Some", "More", "Some"]) == ["measurement/*", "annotation/*"]
    assert shelf.members_for("CopyProductToStorage", ["Some", "All"]) == []
    assert shelf.members_for("CopyProductToStorage", []) == []
    assert shelf.members_for("Steps", ["Some"]) == []
    assert shelf.members_for("Some", ["More"]) == []


@pytest.mark.parametrize("pattern", ["../x", "/etc/passwd", "", "a/../b", "x\ny", "a" * 300])
def test_a_graph_cannot_ask_for_what_is_not_in_the_product(pattern: str) -> None:
    with pytest.raises(UserError, match="product_members"):
        parse_graph(json.dumps({"product_members": [pattern]}), "g")


@pytest.mark.parametrize(
    ("url", "held"),
    [
        ("https://a.org/x?y", True),
        ("https://A.org:443/x", True),
        ("http://a.org/x", False),
        ("https://a.org:444/x", False),
        ("https://a.org.evil.net/x", False),
        ("https://evil.net/https://a.org/", False),
        ("https://evil.net@a.org.evil.net/", False),
        ("https://x.b.org/", True),
        ("https://b.org/", False),
        ("https://x.notb.org/", False),
        ("s3://a.org/x", False),
        ("https://[", False),
    ],
)
def test_an_account_is_bound_to_its_servers(url: str, held: bool) -> None:
    assert Origins(["https://a.org", "https://*.b.org"], "accounts.x.origins").hold(url) is held


@pytest.mark.parametrize(
    "origin", ["a.org", "https://", "ftp://a.org", "https://a.org/path", "https://*", "https://u@a.org", "https://a*.org"]
)
def test_an_origin_that_is_none_is_told(origin: str) -> None:
    with pytest.raises(ConfigurationError, match=r"accounts\.x\.origins"):
        Origins([origin], "accounts.x.origins")


def test_which_hosts_count_together() -> None:
    settings = Settings.model_validate(
        {
            "limits": {"connections": {"*.org": 7, "*.data.org": 3, "one.data.org": 2}},
            "accounts": {
                "few": {"type": "bearer", "origins": ["https://x.data.org", "https://free.net"], "connections": 1},
                "many": {"type": "bearer", "origins": ["https://x.data.org"]},
            },
        }
    )
    shared = Shared(settings)
    plain, few, many = (shared.access(ProviderSettings(type="url", account=name)) for name in ("", "few", "many"))
    assert plain.allowance("https://x.data.org/a").limit == 3
    assert plain.allowance("https://x.data.org/a") == plain.allowance("http://y.data.org:81/b")
    assert plain.allowance("https://one.data.org/a").limit == 2
    assert plain.allowance("https://other.org/a").limit == 7
    assert plain.allowance("https://free.net/a").limit is None
    assert many.allowance("https://x.data.org/a").limit == 3
    assert many.allowance("https://x.data.org/a").name != plain.allowance("https://x.data.org/a").name
    assert few.allowance("https://x.data.org/a").limit == 1
    assert few.allowance("https://free.net/a").limit == 1
    assert few.allowance("https://elsewhere.net/a").limit is None
    at = shared.access(ProviderSettings(type="url", endpoint_url="https://one.data.org"))
    assert at.allowance("s3://bucket/key").limit == 2
    assert shared.access(ProviderSettings(type="url")).allowance("s3://bucket/key").limit is None


def test_copernicus_allows_four_connections_by_default() -> None:
    settings = Settings.model_validate({"accounts": {"c": {"preset": "copernicus"}}})
    url = "https://download.dataspace.copernicus.eu/odata/v1/Products(1)/$value"
    for account in ("", "c"):
        access = Shared(settings).access(ProviderSettings(type="copernicus", account=account))
        assert access.allowance(url).limit == 4
        assert access.allowance(url) == access.allowance("https://zipper.dataspace.copernicus.eu/x")


class TestCircuit:
    def test_it_opens_after_failures_in_a_row_and_lets_one_try(self) -> None:
        circuit = Circuit("p", failures=2, pause_s=0.0)
        for _ in range(2):
            circuit.enter()
            circuit.leave(TemporaryError("down"))
        assert circuit.is_open
        circuit.enter()
        with pytest.raises(TemporaryError, match=r"2 failures in a row \(down\)") as caught:
            circuit.enter()
        assert caught.value.retry_after_s is not None
        circuit.leave(None)
        assert not circuit.is_open
        circuit.enter()

    def test_a_probe_that_fails_closes_it_again(self) -> None:
        circuit = Circuit("p", failures=1, pause_s=1000)
        circuit.enter()
        circuit.leave(TemporaryError("down"))
        with pytest.raises(TemporaryError) as caught:
            circuit.enter()
        assert caught.value.retry_after_s == pytest.approx(1000, abs=5)

    def test_what_is_no_failure_of_the_provider_does_not_count(self) -> None:
        circuit = Circuit("p", failures=2, pause_s=1000)
        ends: list[tuple[BaseException | None, bool]] = [
            (TemporaryError("down"), True),
            (ThresherError("missing"), True),
            (TemporaryError("down"), True),
            (TemporaryError("offline"), False),
            (TemporaryError("down"), True),
            (None, True),
            (TemporaryError("down"), True),
            (asyncio.CancelledError(), True),
        ]
        for error, counts in ends:
            circuit.enter()
            circuit.leave(error, counts=counts)
        assert not circuit.is_open
        circuit.enter()
        circuit.leave(TemporaryError("down"))
        assert circuit.is_open


class TestSecrets:
    def test_they_are_read_from_the_environment_or_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "token").write_text(SECRET + "\n")
        monkeypatch.setenv("THRESHER_ACCOUNT_A_B_TOKEN", SECRET)
        monkeypatch.setenv("ELSEWHERE", SECRET)
        for name, secrets in (("a-b", {}), ("x", {"token": "env:ELSEWHERE"}), ("y", {"token": f"file:{tmp_path / 'token'}"})):
            settings = AccountSettings.model_validate({"type": "bearer", "origins": ["https://a.org"], "secrets": secrets})
            account = Accounts({name: settings}).account(name)
            assert asyncio.run(account.headers("https://a.org/x")) == {"Authorization": f"Bearer {SECRET}"}
            assert asyncio.run(account.headers("https://b.org/x")) == {}
            assert SECRET not in repr(account) + repr(vars(account)) + repr(settings)

    def test_one_that_is_missing_is_told_with_its_place(self, tmp_path: Path) -> None:
        for secrets, where in (
            ({}, "set THRESHER_ACCOUNT_MINE_TOKEN"),
            ({"token": f"file:{tmp_path / 'nothing'}"}, "No such file"),
        ):
            settings = AccountSettings.model_validate({"type": "bearer", "origins": ["https://a.org"], "secrets": secrets})
            with pytest.raises(ConfigurationError, match=where):
                asyncio.run(Accounts({"mine": settings}).account("mine").headers("https://a.org/"))

    @pytest.mark.parametrize("line", ["secrets = { password = '%s' }", "password = '%s'", "secrets = { password = 'env:', token = '%s' }"])
    def test_one_in_the_configuration_is_refused_and_not_repeated(self, tmp_path: Path, line: str) -> None:
        file = tmp_path / "thresher.toml"
        file.write_text("[accounts.mine]\n" + line % SECRET)
        with pytest.raises(ConfigurationError, match=r"accounts\.mine") as caught:
            load_settings(file)
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_what_was_used_is_taken_out_of_messages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THRESHER_ACCOUNT_MINE_TOKEN", SECRET)
        accounts = Accounts({"mine": AccountSettings(type="bearer", origins=["https://a.org"])})
        asyncio.run(accounts.account("mine").headers("https://a.org/"))
        assert accounts.redactor.redacted(f"GET https://a.org/?token={SECRET}") == "GET https://a.org/?token=***"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"preset": "copernikus"}, "preset.*not one of"),
            ({"type": "bearer"}, "origins"),
            ({"type": "oidc", "origins": ["https://a.org"]}, "token_url"),
            ({"type": "planetary-computer"}, "preset"),
        ],
    )
    def test_an_account_that_cannot_work_is_told(self, settings: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Accounts({"mine": AccountSettings.model_validate(settings)}).account("mine")
        with pytest.raises(ConfigurationError, match=r"\[accounts\.other\]"):
            Accounts({}).account("other")

    def test_keys_are_for_their_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THRESHER_ACCOUNT_K_KEY_ID", "id")
        monkeypatch.setenv("THRESHER_ACCOUNT_K_SECRET_KEY", SECRET)
        account = Accounts({"k": AccountSettings(preset="copernicus-s3")}).account("k")
        keys = account.keys("https://eodata.dataspace.copernicus.eu")
        assert keys is not None
        assert keys.secret_key.get_secret_value() == SECRET
        assert SECRET not in repr(keys)
        with pytest.raises(ConfigurationError, match=r"accounts\.k\.origins"):
            account.keys("https://evil.net")
        with pytest.raises(ConfigurationError, match=r"accounts\.k\.origins"):
            account.keys("")


async def test_a_pause_holds_everybody_back_and_a_long_one_is_not_waited_for() -> None:
    leases = LocalLeases()
    await leases.pause("x", 0.05)
    start = asyncio.get_running_loop().time()
    async with leases.hold("x", 1):
        assert asyncio.get_running_loop().time() - start >= 0.045
    await leases.pause("x", 1000)
    with pytest.raises(TemporaryError) as caught:
        async with leases.hold("x", 1):
            pass
    assert caught.value.retry_after_s == pytest.approx(1000, abs=5)
    async with leases.hold("y", 1), leases.patience("y"):
        pass


def test_a_longer_wait_than_usual_is_kept_to() -> None:
    def delay(retry_after_s: float | None) -> float:
        decision = decide(
            Outcome.FAILED,
            ErrorKind.TEMPORARY,
            "",
            retries_left=1,
            is_retriable=False,
            temporary_failures=0,
            retry_after_s=retry_after_s,
        )
        assert (decision.status, decision.retries_left) == (Status.PENDING, 1)
        return decision.delay_s

    assert delay(1800) == 1800
    assert delay(0) > 0
    assert delay(None) <= 2
