"""A querier's keys: sealed at rest, opened by their wrap key alone, rotated and wiped; no clear secret leaves."""

from __future__ import annotations

import secrets

import pytest
import tenseal.sealapi as sealapi

from common.consortium.identity import Member
from common.encryption.envelope import HEADER_BYTES, seal
from common.encryption.key_epoch import KeyEpoch
from common.encryption.querier_session import QuerierSession
from common.encryption.seal import SealScheme
from common.encryption.sealed_keys import open_secret, seal_secret
from common.encryption.worker import Worker
from common.errors import EncryptionError
from tests.encryption_consortium import LAYOUT, WRAP, Consortium, assert_refused, payload_of
from tests.encryption_panel import Layout

KEY_ID = bytes(range(32))


@pytest.fixture(scope="module")
def world():
    with Worker("querier") as own, Worker("silo") as worker:
        yield Consortium(own, worker)


@pytest.fixture(scope="module")
def scheme(tmp_path_factory):
    return SealScheme(tmp_path_factory.mktemp("scheme"))


def resume(world, worker, **changes):
    given = {"wrap": WRAP, "keys": world.asking.keys, "sealed_keys": world.asking.sealed_keys} | changes
    return QuerierSession(world.querier, world.epoch, worker, **given)


def test_a_restarted_querier_goes_on_with_its_keys(world):
    with Worker("querier") as own:
        again = resume(world, own)
        assert (again.key_id, again.keys) == (world.key_id, world.asking.keys)
        query = again.ask(world.probes, world.panel)
        found = world.answers(query)
        assert again.scores(query, found) == pytest.approx(world.expected(), abs=1e-4)
        assert world.asking.scores(query, found) == pytest.approx(world.expected(), abs=1e-4)


def test_sealed_keys_open_with_their_wrap_key_only(world):
    with Worker("querier") as own:
        for wrap in (bytes(32), secrets.token_bytes(32)):
            with pytest.raises(EncryptionError, match="do not open"):
                resume(world, own, wrap=wrap)
        for wrap in (b"", WRAP[:-1], WRAP + b"\0"):
            with pytest.raises(EncryptionError, match="wrap key"):
                resume(world, own, wrap=wrap)
        assert own.generation == 1
        assert not own._kept


def test_altered_sealed_keys_are_refused_before_the_library_sees_them(world):
    blob = world.asking.sealed_keys
    with Worker("querier") as own:
        altered = [b"", blob[:5], blob[:21], blob[:-1], blob + b"\0", blob[9:]]
        for place in (0, 8, 9, 20, 21, 1000, len(blob) - 17, len(blob) - 1):
            altered.append(blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :])
        for one in altered:
            with pytest.raises(EncryptionError, match="do not open"):
                resume(world, own, sealed_keys=one)
        assert own.generation == 1


def test_sealed_keys_belong_to_their_public_keys_and_key_epoch(world):
    later = KeyEpoch(world.querier.card, 2, (LAYOUT,))
    with Worker("querier") as own:
        second = QuerierSession(world.querier, later, own, wrap=WRAP)
        with pytest.raises(EncryptionError, match="do not open"):
            resume(world, own, sealed_keys=second.sealed_keys)
        assert_refused(resume, world, own, keys=second.keys)
        exchanged = seal(payload_of(second.keys), world.epoch.keys_terms(), world.querier, second.key_id)
        assert_refused(resume, world, own, keys=exchanged)
        theirs = world.asking.keys[:HEADER_BYTES] + payload_of(second.keys) + world.asking.keys[-64:]
        assert_refused(resume, world, own, keys=theirs)


def test_a_new_number_is_a_new_key(world):
    with Worker("querier") as own:
        first, second = (
            QuerierSession(world.querier, KeyEpoch(world.querier.card, number, (Layout(1, 1, 1),)), own, wrap=WRAP)
            for number in (1, 2)
        )
    assert first.key_id != second.key_id
    assert payload_of(first.keys) != payload_of(second.keys)
    assert first.sealed_keys != second.sealed_keys


def test_wiped_keys_ask_no_more_and_leave_others_alone(world):
    with Worker("querier") as own:
        session = resume(world, own)
        kept = QuerierSession(world.querier, KeyEpoch(world.querier.card, 5, (LAYOUT,)), own, wrap=WRAP)
        query = session.ask(world.probes, world.panel)
        found = world.answers(query)
        session.wipe()
        assert session.sealed_keys == b""
        with pytest.raises(EncryptionError, match="dropped"):
            session.ask(world.probes, world.panel)
        with pytest.raises(EncryptionError, match="dropped"):
            session.scores(query, found)
        session.wipe()
        assert kept.ask(world.probes, world.panel).count == 3
        assert list(own._kept) == [f"secret/{kept.key_id.hex()}"]


def test_a_querier_asks_its_own_panels(world):
    stranger = Member("querier")
    with Worker("querier") as own, pytest.raises(EncryptionError, match="is asked by"):
        QuerierSession(stranger, KeyEpoch(stranger.card, 1, (LAYOUT,)), own, wrap=WRAP).ask(
            world.probes, world.panel
        )


class TestAtRest:
    def test_the_secret_key_is_in_no_part_of_what_is_stored(self, scheme):
        secret, _ = scheme.make_keys(())
        seen = []
        blob = scheme.save_secret(
            secret, lambda content: seen.append(content) or seal_secret(content, WRAP, KEY_ID)
        )
        (content,) = seen
        again = scheme.load_secret(open_secret(blob, WRAP, KEY_ID))
        plain = sealapi.Plaintext()
        scheme._encoder.encode([0.5], scheme.parameters.scale, plain)
        found = sealapi.Plaintext()
        again.decryptor.decrypt(_encrypted(secret, plain), found)
        assert scheme._encoder.decode_double(found)[0] == pytest.approx(0.5, abs=1e-6)
        windows = {content[start : start + 8] for start in range(0, len(content) - 8, 8)}
        assert not any(blob[start : start + 8] in windows for start in range(len(blob) - 8))

    def test_no_file_holds_the_clear_secret_key_on_the_way(self, scheme, monkeypatch):
        monkeypatch.setattr(scheme, "_save", lambda item: pytest.fail("saved to a file"))
        monkeypatch.setattr(scheme, "_load", lambda item, stream: pytest.fail("loaded from a file"))
        secret = scheme._secret_keys(sealapi.KeyGenerator(scheme._context).secret_key())
        saved = scheme.save_secret(secret, lambda content: content)
        assert scheme.save_secret(scheme.load_secret(saved), lambda content: content) == saved

    def test_sealing_twice_gives_different_bytes(self):
        assert seal_secret(b"key", WRAP, KEY_ID) != seal_secret(b"key", WRAP, KEY_ID)
        assert open_secret(seal_secret(b"key", WRAP, KEY_ID), WRAP, KEY_ID) == b"key"
        with pytest.raises(EncryptionError, match="do not open"):
            open_secret(seal_secret(b"key", WRAP, KEY_ID), WRAP, bytes(32))


def _encrypted(secret, plain):
    ciphertext = sealapi.Ciphertext()
    secret.encryptor.encrypt_symmetric(plain, ciphertext)
    return ciphertext
