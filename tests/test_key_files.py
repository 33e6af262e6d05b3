"""Private keys at rest open with their own secret alone, and nothing readable by others is believed."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path

import pytest

from client.workspace.key_file import SiloKeys, read_keys, write_keys
from common.consortium.key_file import KeyFile, Passphrase, new_key_file, open_private, read_key_file, seal_private
from common.consortium.unlocking import PASSPHRASE, PASSPHRASE_FILE, choose_secret, find_secret
from common.errors import AgentError, EncryptionError

CONTENT = b"thirty-two secret bytes and more"
QUICK = Passphrase("correct horse battery", cost=10)
SECRETS = [QUICK, KeyFile(b"\7" * 32)]


@pytest.mark.parametrize("secret", SECRETS, ids=["passphrase", "key file"])
def test_what_was_sealed_opens_with_the_same_secret(secret: Passphrase | KeyFile) -> None:
    sealed = seal_private(CONTENT, secret, purpose="test")
    assert open_private(sealed, secret, purpose="test") == CONTENT
    assert CONTENT not in sealed
    assert CONTENT.hex().encode() not in sealed
    assert seal_private(CONTENT, secret, purpose="test") != sealed


def test_a_wrong_secret_is_one_clear_line() -> None:
    sealed = seal_private(CONTENT, QUICK, purpose="test")
    with pytest.raises(EncryptionError, match="the passphrase does not open the private keys: give"):
        open_private(sealed, Passphrase("correct horse batterz"), purpose="test")
    with pytest.raises(EncryptionError, match="sealed with a passphrase, not a key file"):
        open_private(sealed, KeyFile(b"\7" * 32), purpose="test")
    with pytest.raises(EncryptionError, match="does not open"):
        open_private(sealed, QUICK, purpose="another")


def test_every_altered_field_is_refused() -> None:
    sealed = json.loads(seal_private(CONTENT, QUICK, purpose="test"))
    altered = [
        {**sealed, "nonce": "00" * 12},
        {**sealed, "content": "00" + sealed["content"][2:]},
        {**sealed, "content": sealed["content"][:-2]},
        {**sealed, "lock": {**sealed["lock"], "salt": "00" * 16}},
        {**sealed, "lock": {**sealed["lock"], "cost": 11}},
        {**sealed, "version": 2},
        {**sealed, "lock": {**sealed["lock"], "cost": 40}},
        {**sealed, "lock": {**sealed["lock"], "salt": ""}},
    ]
    for fields in altered:
        with pytest.raises(EncryptionError):
            open_private(json.dumps(fields).encode(), QUICK, purpose="test")
    for content in (b"", b"{}", b"\xff" * 100, b"[" * 100_000, b" " * (2 << 20)):
        with pytest.raises(EncryptionError, match="damaged"):
            open_private(content, QUICK, purpose="test")


def test_secrets_are_not_shown() -> None:
    assert "horse" not in repr(QUICK)
    assert "\\x07" not in repr(SECRETS[1])
    assert "PRIVATE" not in repr(SiloKeys.generate("west"))


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "silo.key"
    secret = new_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key_file(path) == secret
    with pytest.raises(EncryptionError, match="exists already"):
        new_key_file(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "silo.key"
    new_key_file(path)
    os.chmod(path, mode)
    with pytest.raises(EncryptionError, match="chmod 600"):
        read_key_file(path)


def test_a_file_of_another_length_is_no_key_file(tmp_path: Path) -> None:
    for content in (b"", b"x" * 31, b"x" * 33):
        path = tmp_path / "silo.key"
        path.write_bytes(content)
        os.chmod(path, 0o600)
        with pytest.raises(EncryptionError, match="no key file"):
            read_key_file(path)


def test_silo_keys_survive_a_change_of_the_secret(tmp_path: Path) -> None:
    keys = SiloKeys.generate("west")
    write_keys(tmp_path / "private.key", keys, QUICK)
    assert stat.S_IMODE((tmp_path / "private.key").stat().st_mode) == 0o600
    again = read_keys(tmp_path / "private.key", QUICK)
    write_keys(tmp_path / "private.key", again, SECRETS[1])
    last = read_keys(tmp_path / "private.key", SECRETS[1])
    assert last.member.card == keys.member.card
    assert last.tls_key == keys.tls_key
    assert last.wrap_key("ckks") == keys.wrap_key("ckks")
    assert len({keys.wrap_key("ckks"), keys.wrap_key("other"), keys.wrap_root}) == 3
    with pytest.raises(EncryptionError, match="not a passphrase"):
        read_keys(tmp_path / "private.key", QUICK)


def test_missing_keys_are_the_workspaces_problem(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="cannot read"):
        read_keys(tmp_path / "private.key", QUICK)


def test_a_passphrase_comes_from_the_environment_or_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)
    path = tmp_path / "credential"
    path.write_text("a long passphrase\n")
    os.chmod(path, 0o600)
    monkeypatch.setenv(PASSPHRASE_FILE, str(path))
    assert find_secret(None, whose="the keys") == Passphrase("a long passphrase")
    os.chmod(path, 0o644)
    with pytest.raises(EncryptionError, match="can be read by others"):
        find_secret(None, whose="the keys")
    monkeypatch.setenv(PASSPHRASE, "another passphrase")
    assert find_secret(None, whose="the keys") == Passphrase("another passphrase")
    monkeypatch.setenv(PASSPHRASE, "too short")
    with pytest.raises(EncryptionError, match="fewer than 12"):
        choose_secret(None, whose="the keys")


def test_with_nobody_to_ask_the_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)
    monkeypatch.delenv(PASSPHRASE_FILE, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(EncryptionError, match=PASSPHRASE):
        find_secret(None, whose="the keys")
