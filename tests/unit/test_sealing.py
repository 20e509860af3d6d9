"""Secrets that are sealed, keys that are replaced, links that are signed."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from catalogue.hook.links import Links
from catalogue.hook.orders import ItemError
from catalogue.hook.secrets import OrderSecrets
from common.access_settings import SecretsSettings
from common.errors import ConfigurationError
from common.messages import SceneRef
from common.order_access import KEY, Login, OrderAccess
from common.sealing import Sealer, SealError


def new_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def sealer(*keys: str) -> Sealer:
    return Sealer(SecretsSettings(keys=SecretStr(",".join(keys))))


OLD, NEW = new_key(), new_key()
VALUES = {"password": "very-secret", "user": "Zoë"}


def test_what_is_sealed_shows_nothing_and_opens_again() -> None:
    sealed = sealer(OLD).seal(VALUES, "a test")
    assert "very-secret" not in sealed
    assert b"very-secret" not in base64.urlsafe_b64decode(sealed)
    assert sealer(OLD).open(sealed, "a test") == VALUES
    assert sealed != sealer(OLD).seal(VALUES, "a test")
    assert "very-secret" not in repr(sealer(OLD)) + str(Sealer(SecretsSettings(keys=SecretStr(OLD))))
    assert OLD not in repr(sealer(OLD))


def test_a_new_key_seals_while_the_old_one_still_opens() -> None:
    of_old = sealer(OLD).seal(VALUES, "a test")
    both = sealer(NEW, OLD)
    assert both.open(of_old, "a test") == VALUES
    assert sealer(NEW).open(both.seal(VALUES, "a test"), "a test") == VALUES
    with pytest.raises(SealError, match="another key"):
        sealer(NEW).open(of_old, "a test")


@pytest.mark.parametrize("place", [0, 10, 60, -2])
def test_what_was_changed_does_not_open(place: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(sealer(OLD).seal(VALUES, "a test")))
    raw[place] ^= 1
    with pytest.raises(SealError):
        sealer(OLD).open(base64.urlsafe_b64encode(bytes(raw)).decode(), "a test")


def test_what_was_sealed_for_one_purpose_opens_for_no_other() -> None:
    with pytest.raises(SealError, match="something else"):
        sealer(OLD).open(sealer(OLD).seal(VALUES, "a test"), "another test")


def test_what_was_sealed_too_long_ago_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = sealer(OLD).seal(VALUES, "a test")
    assert sealer(OLD).open(sealed, "a test", life_s=60) == VALUES
    now = datetime.now(UTC).timestamp()
    monkeypatch.setattr("cryptography.fernet.time.time", lambda: now + 61)
    with pytest.raises(SealError):
        sealer(OLD).open(sealed, "a test", life_s=60)


def test_a_file_of_keys_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(OLD + "\n")
    of_file = Sealer(SecretsSettings(keys_file=file))
    sealed = of_file.seal(VALUES, "a test")
    file.write_text(f"{NEW}\n{OLD}\n")
    assert of_file.open(sealed, "a test") == VALUES
    assert sealer(NEW).open(of_file.seal(VALUES, "a test"), "a test") == VALUES


@pytest.mark.parametrize("keys", [",", "short", f"{OLD},not-a-key", OLD[:-4], "ä" * 44], ids=["empty", "short", "second", "cut", "foreign"])
def test_a_key_that_is_none_is_told_without_being_shown(keys: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sealer(*keys.split(",")).check()
    assert "secrets.keys" in str(caught.value)
    assert not any(text in str(caught.value) for text in keys.split(",") if text)


def test_without_a_key_nothing_is_sealed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="THRESHER_SECRETS_KEYS"):
        Sealer(SecretsSettings()).seal(VALUES, "a test")
    assert not sealer("").is_able
    sealer("").check()  # an empty variable is none
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Sealer(SecretsSettings(keys_file=tmp_path / "missing")).check()


def test_secrets_of_an_order_whose_key_is_gone_fail_the_item() -> None:
    sealed = OrderSecrets(sealer(OLD)).seal(VALUES)
    assert OrderSecrets(sealer(NEW, OLD)).open(sealed) == VALUES
    assert OrderSecrets(sealer(OLD)).open(None) == {}
    with pytest.raises(ItemError, match="order again"):
        OrderSecrets(sealer(NEW)).open(sealed)


def test_access_opens_for_its_own_scene_alone() -> None:
    login = Login(token_url="https://identity.example.org/token", username="ada", password="very-secret")
    access = OrderAccess(kind="stac", url="https://catalogue.example.org", login=login)
    assert "very-secret" not in repr(access)
    sealed = access.sealed(sealer(OLD), "order:1:2", "S2A_X")
    assert "very-secret" not in sealed

    def scene(aoi: str, source_id: str) -> SceneRef:
        return SceneRef.model_validate(
            {"id": 1, "source_id": source_id, "aoi": aoi, "date": "2024-01-01T00:00:00Z", "metadata": {KEY: sealed}}
        )

    assert OrderAccess.of(scene("order:1:2", "S2A_X"), sealer(OLD)) == access
    for aoi, source_id in (("order:1:3", "S2A_X"), ("order:1:2", "S2A_Y")):
        with pytest.raises(SealError):
            OrderAccess.of(scene(aoi, source_id), sealer(OLD))


def test_a_link_is_good_for_its_file_until_it_expires() -> None:
    links, later = Links(sealer(OLD)), datetime.now(UTC) + timedelta(days=14)
    link = links.link(7, "s3://ours/on-demand/7/x.zip", later, "https://host/odata/v1/")
    assert link.startswith("https://host/odata/v1/Downloads(7)/x.zip?expires=")
    assert "s3:" not in link
    expires, signature = (part.partition("=")[2] for part in link.partition("?")[2].split("&"))

    assert links.is_good(7, "s3://ours/on-demand/7/x.zip", expires, signature)
    assert Links(sealer(NEW, OLD)).is_good(7, "s3://ours/on-demand/7/x.zip", expires, signature)
    assert not Links(sealer(NEW)).is_good(7, "s3://ours/on-demand/7/x.zip", expires, signature)
    assert not links.is_good(8, "s3://ours/on-demand/7/x.zip", expires, signature)
    assert not links.is_good(7, "s3://ours/on-demand/7/y.zip", expires, signature)
    assert not links.is_good(7, "s3://ours/on-demand/7/x.zip", str(int(expires) + 1), signature)
    for wrong in ("", "0", "x", "٣", "9" * 40, expires + " "):
        assert not links.is_good(7, "s3://ours/on-demand/7/x.zip", wrong, signature)
    for wrong in ("", "A" * 43, signature[:-1], "ä" * 43, "\udce4"):
        assert not links.is_good(7, "s3://ours/on-demand/7/x.zip", expires, wrong)
    old = links.link(7, "x", datetime.now(UTC) - timedelta(seconds=1), "https://host")
    assert not links.is_good(7, "x", *(part.partition("=")[2] for part in old.partition("?")[2].split("&")))
