"""Attacks that were seen to work, against the answers as they leave. Each succeeds if its defence is taken out.

The attacker is the querier, who holds the secret key and everything that it encrypted, alone or with the relay.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from common.encryption import residues
from common.encryption.evaluator import admit, evaluate
from common.encryption.masks import mask, transcript
from common.encryption.sanitise import NOISE, Noise
from common.encryption.seal import SealScheme, seal_stream, sealapi
from common.encryption.sizes import galois_elements
from common.errors import DisclosureError, EncryptionError
from tests.encryption_panel import NOISELESS, Host, Layout, decrypt, pair_masks, silo_panel, unit

LAYOUT = Layout(64, 64, 64)


@pytest.fixture(scope="module")
def scheme(tmp_path_factory):
    return SealScheme(tmp_path_factory.mktemp("scheme"))


@pytest.fixture(scope="module")
def keys(scheme):
    secret, public = scheme.make_keys(LAYOUT.rotations)
    return secret, scheme.load_keys(public, LAYOUT.rotations)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def gallery(generator):
    return unit(generator, LAYOUT.rows, LAYOUT.dimension).astype(np.float64)


def query_slots(generator):
    return LAYOUT.pack(unit(generator, LAYOUT.queries, LAYOUT.dimension).astype(np.float64))


def encrypt_complex(scheme, secret, slots):
    """A query that an honest querier cannot make: complex slots."""
    plain = sealapi.Plaintext()
    scheme._encoder.encode(slots.tolist(), scheme.parameters.scale, plain)
    stream = scheme._save(secret.encryptor.encrypt_symmetric(plain))
    first, seed = seal_stream.read_seeded_ciphertext(stream, scheme._query)
    return residues.pack(first, scheme.parameters.data_moduli) + seed


def second_polynomial(payload):
    return payload[len(payload) // 2 :]


def second_residues(scheme, payload):
    parameters = scheme.parameters
    return residues.unpack(second_polynomial(payload), (parameters.answer_modulus,), parameters.degree)[0]


def test_c1_does_not_confirm_a_guessed_gallery(scheme, keys, generator):
    """c1 escapes mask and noise. Without a fresh Enc(0) it is the same function of query and rows for everyone."""
    secret, public = keys
    candidates = [gallery(generator) for _ in range(3)]
    payload = scheme.encrypt(query_slots(generator), secret)
    answer = Host(scheme, public, LAYOUT, candidates[1]).respond(payload, noise=NOISE)
    for guess in candidates:
        own = Host(scheme, public, LAYOUT, guess)
        query = admit(scheme, payload, public)
        (ciphertext,) = evaluate(scheme, own.gallery, query, public)._blocks
        _, second = seal_stream.read_ciphertext(scheme._save(ciphertext), scheme._answer)
        expected = residues.pack(second, (scheme.parameters.answer_modulus,))
        assert expected != second_polynomial(answer)


def test_c1_differs_from_answer_to_answer(scheme, keys, generator):
    secret, public = keys
    host = Host(scheme, public, LAYOUT, gallery(generator))
    payload = scheme.encrypt(query_slots(generator), secret)
    first, second = (second_residues(scheme, host.respond(payload)).astype(np.float64) for _ in range(2))
    assert np.mean(first == second) < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_c1_is_hidden_whatever_public_key_the_querier_made(scheme, keys, generator):
    """A public key of zeros would make Enc(0) hide nothing, and c1, which no mask covers, tells the rows."""
    secret, _ = keys
    _, payload = scheme.make_keys(LAYOUT.rotations)
    parts = len(galois_elements(LAYOUT.rotations, scheme.parameters)) * len(scheme.parameters.data_moduli)
    part = residues.size(scheme.parameters.moduli, scheme.parameters.degree) + residues.SEED_BYTES
    head = len(payload) - parts * part
    public = scheme.load_keys(bytes(head) + payload[head:], LAYOUT.rotations)
    host = Host(scheme, public, LAYOUT, gallery(generator))
    query = scheme.encrypt(query_slots(generator), secret)
    first, second = (second_residues(scheme, host.respond(query)) for _ in range(2))
    modulus = np.uint64(scheme.parameters.answer_modulus)
    apart = (first + (modulus - second) % modulus) % modulus
    packed = residues.pack(apart[None], (scheme.parameters.answer_modulus,))
    # As the first polynomial of an answer with no second one, a small difference decodes to small slots.
    assert looks_random(scheme.decrypt_sum([packed + bytes(len(packed))], secret))


def recover_rows(scheme, keys, generator, *, noise, rounds=10):
    """Correlation of a silo's rows with their least-squares estimate out of the imaginary parts of the answers."""
    secret, public = keys
    host = Host(scheme, public, LAYOUT, gallery(generator))
    errors, seen = [], []
    for _ in range(rounds):
        slots = query_slots(generator)
        payload = scheme.encrypt(slots, secret)
        plain = sealapi.Plaintext()
        secret.decryptor.decrypt(admit(scheme, payload, public).ciphertext, plain)
        error = np.array(scheme._encoder.decode_complex(plain)) - 2 * slots
        errors.append(0.5 * error.imag.reshape(LAYOUT.ring, LAYOUT.lanes).T)
        answer = decrypt(scheme, secret, LAYOUT, [host.respond(payload, noise=noise)])[0]
        seen.append(answer.imag.reshape(LAYOUT.ring, LAYOUT.lanes).T)
    estimate = np.linalg.lstsq(np.concatenate(errors), np.concatenate(seen), rcond=None)[0]
    return np.corrcoef(estimate.T.ravel(), host.rows.ravel())[0, 1]


def test_imaginary_parts_give_no_row_away(scheme, keys, generator):
    assert recover_rows(scheme, keys, generator, noise=Noise(0.0)) > 0.3, "the attack itself must work"
    assert abs(recover_rows(scheme, keys, generator, noise=NOISE)) < 0.1


def test_an_answer_holds_no_number_but_the_scores_that_were_paid_for(scheme, generator):
    """Rotation keys of a querier's own making could else turn every other slot into one more product."""
    layout = Layout(64, 20, 8)
    secret, payload = scheme.make_keys(layout.rotations)
    host = Host(scheme, scheme.load_keys(payload, layout.rotations), layout, unit(generator, 20, 64))
    query = scheme.encrypt(layout.pack(unit(generator, 8, 64).astype(np.float64)), secret)
    exact, answer = (decrypt(scheme, secret, layout, [host.respond(query, noise=one)])[0]
                     for one in (NOISELESS, NOISE))  # fmt: skip
    shown = layout.shown[0]
    assert np.count_nonzero(shown) == 8 * 20
    assert np.abs(answer.real - exact.real)[shown].max() < 1e-4
    for hidden in (answer.real[~shown], answer.imag[shown], answer.imag[~shown]):
        assert hidden.std() > 1000 * np.abs(exact).max()
    assert abs(np.corrcoef(answer.real[~shown], exact.real[~shown])[0, 1]) < 0.1


def test_noise_lies_on_every_slot_real_and_imaginary(scheme, keys, generator):
    secret, public = keys
    host = Host(scheme, public, LAYOUT, np.zeros((LAYOUT.rows, LAYOUT.dimension)))
    payload = scheme.encrypt(query_slots(generator), secret)
    slots = decrypt(scheme, secret, LAYOUT, [host.respond(payload, noise=Noise(1e-3))])[0]
    assert slots.real.std() == pytest.approx(1e-3, rel=0.1)
    assert slots.imag.std() > 1000
    assert abs(np.corrcoef(slots.real, slots.imag)[0, 1]) < 0.1
    assert np.count_nonzero(np.abs(slots) < 1e-6) < 5


def test_a_second_query_in_the_imaginary_parts_is_not_answered(scheme, keys, generator):
    secret, public = keys
    rows = gallery(generator)
    shown, hidden = query_slots(generator), query_slots(generator)
    payload = encrypt_complex(scheme, secret, shown + 1j * hidden)
    slots = decrypt(scheme, secret, LAYOUT, [Host(scheme, public, LAYOUT, rows).respond(payload)])[0]
    product = rows @ hidden.reshape(LAYOUT.ring, LAYOUT.lanes)
    assert np.abs(slots.real.reshape(LAYOUT.ring, -1) - rows @ shown.reshape(LAYOUT.ring, -1)).max() < 1e-5
    assert np.abs(product).max() > 0.3
    assert np.abs(slots.imag).max() < 1e-5


@pytest.fixture(scope="module")
def panel(scheme, keys):
    generator = np.random.default_rng(8)
    members, _, asked = silo_panel(["a", "b", "c"])
    hosts = {name: Host(scheme, keys[1], LAYOUT, gallery(generator)) for name in members}
    return members, asked, hosts


def answer_of(panel, name, payload, *, epoch_panel=None):
    """A masked answer as a session makes it: masks bound to the query that this silo saw."""
    members, own_panel, hosts = panel
    used = epoch_panel or own_panel
    bound_to = transcript(payload, panel=used.digest, layout=LAYOUT.digest)
    return hosts[name].respond(payload, mask_keys=pair_masks(members, used, name, bound_to))


def looks_random(slots):
    """Uniform residues at the answer's scale decode to slots of about 10^4; scores stay below 1.01."""
    return np.median(np.abs(slots)) > 1e3


def test_masks_cancel_exactly_over_the_whole_panel(scheme, keys, panel, generator):
    secret, _ = keys
    slots = query_slots(generator)
    payload = scheme.encrypt(slots, secret)
    total = decrypt(scheme, secret, LAYOUT, [answer_of(panel, name, payload) for name in "abc"])[0]
    rows = sum(host.rows for host in panel[2].values())
    assert np.abs(total.real.reshape(LAYOUT.ring, -1) - rows @ slots.reshape(LAYOUT.ring, -1)).max() < 1e-5


@pytest.mark.parametrize("subset", ["a", "b", "c", "ab", "ac", "bc"])
def test_fewer_silos_than_the_panel_decrypt_to_noise(scheme, keys, panel, generator, subset):
    secret, _ = keys
    payload = scheme.encrypt(query_slots(generator), secret)
    answers = [answer_of(panel, name, payload) for name in subset]
    assert looks_random(decrypt(scheme, secret, LAYOUT, answers))


def test_one_answer_taken_twice_does_not_cancel_another(scheme, keys, panel, generator):
    secret, _ = keys
    payload = scheme.encrypt(query_slots(generator), secret)
    answers = [answer_of(panel, name, payload) for name in "abb"]
    assert looks_random(decrypt(scheme, secret, LAYOUT, answers))


def test_a_relay_that_shows_silos_different_queries_gets_noise(scheme, keys, panel, generator):
    """Else the others, asked with zeros, would answer nothing and the sum would be one silo's score."""
    secret, _ = keys
    real = scheme.encrypt(query_slots(generator), secret)
    empty = scheme.encrypt(np.zeros(scheme.parameters.slots), secret)
    answers = [answer_of(panel, "a", real), answer_of(panel, "b", empty), answer_of(panel, "c", empty)]
    assert looks_random(decrypt(scheme, secret, LAYOUT, answers))


def test_a_smaller_panel_cannot_be_formed(panel):
    """An answer over {a, b, c} minus one over {a, b} would be c's."""
    _, own_panel, _ = panel
    pair = tuple(card for card in own_panel.members if card.name in "ab")
    with pytest.raises(DisclosureError, match="2 silos"):
        dataclasses.replace(own_panel, members=pair)


def test_masks_differ_between_transcripts_blocks_and_panels(panel):
    members, own_panel, _ = panel
    later = dataclasses.replace(own_panel, gallery_epoch="2")
    found = set()
    for used, query, layout in itertools.product((own_panel, later), (b"one", b"two"), (b"x", b"y")):
        keys = pair_masks(members, used, "a", transcript(query, panel=used.digest, layout=layout))
        found |= {mask(keys, block, LAYOUT.parameters).tobytes() for block in (0, 1)}
    assert len(found) == 16


def test_masks_are_uniform_below_the_modulus(panel):
    members, own_panel, _ = panel
    modulus = LAYOUT.parameters.answer_modulus
    values = mask(pair_masks(members, own_panel, "b", bytes(32)), 0, LAYOUT.parameters)
    assert values.max() < modulus
    histogram, _ = np.histogram(values.astype(np.float64), bins=16, range=(0, modulus))
    assert np.abs(histogram - len(values) / 16).max() < 6 * np.sqrt(len(values) / 16)


def test_a_querier_may_not_sit_in_its_own_panel():
    members, _, asked = silo_panel(["a", "b", "c"])
    with pytest.raises(DisclosureError, match="belongs to"):
        dataclasses.replace(asked, querier=members["a"].card)
    with pytest.raises(EncryptionError, match="twice"):
        dataclasses.replace(asked, members=(*asked.members, members["a"].card))
