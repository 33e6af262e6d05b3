"""Gram blocks: equal to the formula, and silent beyond the admitted rows. The attacker is the key holder."""

from __future__ import annotations

import ast
import copy
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

import common.encryption
from common.encryption import residues, seal_stream
from common.encryption.gram import (
    NOISE,
    BlockEvaluation,
    admit_columns,
    ask,
    evaluate_block,
    read_block,
    sanitise_block,
)
from common.encryption.gram_layout import GRAM, GramLayout, coefficients_of, pack_upper, slots_of, unpack_upper
from common.encryption.gram_product import Limbs
from common.encryption.gram_scalar import ScalarBlock
from common.encryption.gram_seal import GramScheme, sealapi
from common.errors import EncryptionError
from tests.encryption_panel import unit

FOLDER = Path(common.encryption.__file__).parent
DIMENSION, ROWS, PATIENTS = 32, 16, 6
LAYOUT = GramLayout(DIMENSION, ROWS, PATIENTS)
Q = GRAM.answer_modulus


@pytest.fixture(scope="module")
def scheme(tmp_path_factory):
    return GramScheme(tmp_path_factory.mktemp("scheme"))


@pytest.fixture(scope="module")
def block(scheme):
    generator = np.random.default_rng(0)
    rows, patients = unit(generator, ROWS, DIMENSION), unit(generator, PATIENTS, DIMENSION)
    secret = scheme.make_secret()
    payload = ask(scheme, rows.astype(np.float64), secret)
    return rows.astype(np.float64), patients.astype(np.float64), secret, payload


def answered(scheme, payload, patients, layout=LAYOUT, **options):
    return sanitise_block(scheme, evaluate_block(admit_columns(scheme, payload, layout), patients), **options)


def test_a_block_equals_the_formula(scheme, block):
    rows, patients, secret, payload = block
    entries = read_block(scheme, answered(scheme, payload, patients, noise=0.0), LAYOUT, secret)
    assert np.abs(entries - patients @ rows.T).max() < 1e-6


def test_a_full_block_of_all_coefficients_equals_the_formula_and_the_librarys_own_products(scheme):
    generator = np.random.default_rng(1)
    rows, patients = (unit(generator, count, 8).astype(np.float64) for count in (GRAM.degree, 2))
    layout, secret = GramLayout(8, GRAM.degree, 2), scheme.make_secret()
    answer = answered(scheme, ask(scheme, rows, secret), patients, layout, noise=1e-6)
    entries = read_block(scheme, answer, layout, secret)
    assert np.abs(entries - patients @ rows.T).max() < 1e-5
    scalar = ScalarBlock(scheme, rows[: GRAM.slots])
    assert np.abs(scalar.entries(scalar.product(patients[0])) - entries[0, : GRAM.slots]).max() < 1e-5


def test_the_noise_lies_on_every_entry_far_above_that_of_the_ciphertexts(scheme, block):
    _, patients, secret, payload = block
    nobody = np.zeros_like(patients)
    found = [read_block(scheme, answered(scheme, payload, nobody), LAYOUT, secret) for _ in range(3)]
    assert np.std(found) == pytest.approx(NOISE, rel=0.2)
    assert not np.any(found[0] == found[1])
    exact = read_block(scheme, answered(scheme, payload, nobody, noise=0.0), LAYOUT, secret)
    assert 0 < np.abs(exact).max() < NOISE / 1000


def malicious(scheme, secret, polynomials, rows=ROWS):
    """A question whose columns are arbitrary (d, N) polynomials, of which the first coefficients go up."""
    columns = [scheme._encrypt_column(polynomial, secret.encryptor) for polynomial in polynomials]
    cut = [column[: 8 * rows] + column[-residues.SEED_BYTES :] for column in columns]
    return scheme.public_key(secret) + b"".join(cut)


def phase(scheme, answer, layout, secret):
    """(m, N) all that the key holder can decrypt, coefficients beyond the admitted rows included."""
    return np.stack(
        [
            scheme.entries(
                np.concatenate(
                    [_words(answer[at : at + 8 * layout.rows]), np.zeros(GRAM.degree - layout.rows, "u8")]
                ),
                unpack_upper(answer[at + 8 * layout.rows : at + layout.entry_bytes]),
                secret,
            )
            for at in range(0, layout.answer_bytes, layout.entry_bytes)
        ]
    )


def _words(content):
    return np.frombuffer(content, "<u8")


def wrapped(entries):
    """Modulo q0, which is 16 at the scale of an answer."""
    return (entries + 8) % 16 - 8


@pytest.mark.parametrize("place", [ROWS, GRAM.slots], ids=["hidden rows", "imaginary parts"])
@pytest.mark.parametrize("gain", [1.0, 2.0**12])
def test_rows_beside_the_admitted_ones_are_not_answered_however_loud(scheme, block, place, gain):
    """Coefficients from N / 2 on are what an embedding in the imaginary parts of the slots becomes."""
    rows, patients, secret, _ = block
    columns = np.zeros((DIMENSION, GRAM.degree))
    columns[:, :ROWS], columns[:, place : place + ROWS] = rows.T, gain * rows.T[:, ::-1]
    expected = wrapped(gain * patients @ rows[::-1].T)
    whole, cut = (GramLayout(DIMENSION, count, PATIENTS) for count in (GRAM.degree, ROWS))
    open_answer = answered(scheme, malicious(scheme, secret, columns, GRAM.degree), patients, whole)
    hidden = phase(scheme, open_answer, whole, secret)[:, place : place + ROWS]
    assert np.abs(wrapped(hidden - expected)).max() < 1e-2, "the attack itself must work"
    answer = answered(scheme, malicious(scheme, secret, columns), patients, cut)
    seen = phase(scheme, answer, cut, secret)
    assert np.abs(seen[:, :ROWS] - patients @ rows.T).max() < 1e-2
    hidden = seen[:, place : place + ROWS]
    assert abs(np.corrcoef(hidden.ravel(), expected.ravel())[0, 1]) < 0.4
    assert np.abs(hidden).mean() > 1, "uniform modulo q0: between -8 and 8"


def matches(scheme, columns, answer, patient):
    """Whether c1 of the first entry is, up to rounding, what this patient makes of the columns' c1."""
    (expected,) = columns.second.product(np.rint(patient[None] * 2.0**22).astype(np.int64))
    start = 8 * LAYOUT.rows
    seen = unpack_upper(answer[start : LAYOUT.entry_bytes])
    apart = (expected.astype(np.int64) - seen.astype(np.int64)) % Q
    return bool(np.all(np.minimum(apart, Q - apart) < 2**30))


def test_c1_does_not_confirm_a_guessed_patient(scheme, block, monkeypatch):
    _, patients, _, payload = block
    columns = admit_columns(scheme, payload, LAYOUT)
    answer = answered(scheme, payload, patients)
    assert not matches(scheme, columns, answer, patients[0])
    zeros = np.zeros(GRAM.degree, dtype=np.uint64)
    monkeypatch.setattr(scheme, "zero", lambda encryptor: (zeros, zeros))
    bare = answered(scheme, payload, patients)
    assert matches(scheme, columns, bare, patients[0]), "the attack itself must work"
    assert not matches(scheme, columns, bare, patients[1])


def test_a_chosen_public_key_does_not_open_c1(scheme, block, monkeypatch):
    """Its uniform half is a seed, so the sender can choose only the other one."""
    _, patients, _, payload = block
    half = residues.size(GRAM.moduli, GRAM.degree)
    hostile = bytes(half) + payload[half:]
    columns = admit_columns(scheme, hostile, LAYOUT)
    assert not matches(scheme, columns, answered(scheme, hostile, patients), patients[0])
    poor = np.zeros((len(GRAM.moduli), GRAM.degree), dtype=np.uint64)
    poor[0] = GRAM.moduli[-1]
    stream = seal_stream.ciphertext(scheme._key, poor, poor)
    chosen = sealapi.Encryptor(scheme._context, scheme._load(sealapi.PublicKey(), stream))
    monkeypatch.setattr(scheme, "load_public_key", lambda content: chosen)
    assert matches(scheme, columns, answered(scheme, payload, patients), patients[0]), (
        "the attack itself must work"
    )


def test_two_answers_to_one_question_differ_everywhere(scheme, block):
    _, patients, _, payload = block
    first, second = (_words(answered(scheme, payload, patients)[8 * ROWS : LAYOUT.entry_bytes]) for _ in range(2))
    assert np.mean(first == second) < 0.01


@pytest.mark.parametrize("attempt", [pickle.dumps, copy.copy, copy.deepcopy, bytes, memoryview, iter, dict, vars])
def test_an_evaluation_cannot_be_turned_into_bytes(scheme, block, attempt):
    evaluation = evaluate_block(admit_columns(scheme, block[3], LAYOUT), block[1])
    with pytest.raises((EncryptionError, TypeError)):
        attempt(evaluation)
    assert {name for name in dir(BlockEvaluation) if not name.startswith("_")} == set()
    assert repr(evaluation) == "<BlockEvaluation of 6 patients>"


def callers(path, name):
    """Functions of a file that call a method of that name."""
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return {
        function.name
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name
    }


def test_bytes_leave_through_few_functions_only():
    seal = FOLDER / "gram_seal.py"
    assert callers(seal, "_save") == {"public_key", "_encrypt_column", "_coefficients"}
    assert callers(seal, "_coefficients") == {"admit_column", "zero", "_encrypt_column"}
    for path in FOLDER.glob("gram*.py"):
        assert callers(path, "zero") == ({"sanitise_block"} if path.name == "gram.py" else set()), path
        if path != seal:
            assert not callers(path, "_save"), path


class TestHostilePayloads:
    def test_lengths_are_exact(self, scheme, block):
        _, patients, secret, payload = block
        for hostile in (b"", payload[:-1], payload + b"\0", payload[8:]):
            with pytest.raises(EncryptionError, match="a message was refused"):
                admit_columns(scheme, hostile, LAYOUT)
        answer = answered(scheme, payload, patients)
        for hostile in (b"", answer[:-1], answer + b"\0"):
            with pytest.raises(EncryptionError, match="a message was refused"):
                read_block(scheme, hostile, LAYOUT, secret)

    def test_residues_above_the_prime_are_refused(self, scheme, block):
        _, patients, secret, payload = block
        for place in (0, LAYOUT.key_bytes, LAYOUT.key_bytes + LAYOUT.column_bytes):
            hostile = payload[:place] + b"\xff" * 8 + payload[place + 8 :]
            with pytest.raises(EncryptionError, match="a message was refused"):
                admit_columns(scheme, hostile, LAYOUT)
        answer = answered(scheme, payload, patients)
        for place in (0, 8 * ROWS):
            hostile = answer[:place] + b"\xff" * 8 + answer[place + 8 :]
            with pytest.raises(EncryptionError, match="a message was refused"):
                read_block(scheme, hostile, LAYOUT, secret)

    def test_entries_that_no_unit_rows_have_are_refused(self, scheme, block):
        _, patients, secret, payload = block
        answer = answered(scheme, payload, patients)
        noise = np.random.default_rng(2).integers(0, Q, ROWS, dtype=np.uint64).astype("<u8").tobytes()
        with pytest.raises(EncryptionError, match="a message was refused"):
            read_block(scheme, noise + answer[8 * ROWS :], LAYOUT, secret)
        with pytest.raises(EncryptionError, match="a message was refused"):
            read_block(scheme, answer, LAYOUT, scheme.make_secret())

    def test_embeddings_that_are_not_unit_rows_are_refused(self, scheme, block):
        rows, patients, secret, payload = block
        columns = admit_columns(scheme, payload, LAYOUT)
        for hostile in (2 * patients, patients * np.nan, patients[:, :-1]):
            with pytest.raises(EncryptionError):
                evaluate_block(columns, hostile)
        with pytest.raises(EncryptionError, match="unit norm"):
            ask(scheme, 2 * rows, secret)


class TestExactProducts:
    def test_they_equal_python_integers(self):
        generator = np.random.default_rng(3)
        values = generator.integers(0, Q, (9, 7), dtype=np.uint64)
        values[0], values[1] = Q - 1, 0
        weights = generator.integers(-(2**22), 2**22, (70, 9))
        expected = weights.astype(object) @ values.astype(object) % Q
        assert np.array_equal(Limbs(values, Q).product(weights).astype(object), expected)

    def test_weights_that_could_round_are_refused(self):
        with pytest.raises(EncryptionError, match="too large"):
            Limbs(np.zeros((2, 1), np.uint64), Q).product(np.array([[2**32, 2**32]]))


class TestTheLibrarysByteLayout:
    """Recorded streams: another layout or generator in a new version of the library fails here first."""

    RESIDUES = (np.arange(2 * GRAM.degree, dtype=np.uint64) * np.uint64(123456789123)).reshape(
        2, 1, -1
    ) % np.uint64(Q)

    @pytest.mark.parametrize("form", ["_column", "_sum"])
    def test_it_saves_what_is_written_here(self, scheme, form):
        shape = getattr(scheme, form)
        stream = seal_stream.ciphertext(shape, *self.RESIDUES)
        saved = scheme._save(scheme._load(sealapi.Ciphertext(), stream))
        first, second = seal_stream.read_ciphertext(saved, shape)
        assert np.array_equal(np.stack([first, second]), self.RESIDUES)
        recorded = {
            "_column": "314e8b8f340218089665a5ce1e53a8d65899420b30c9c408f4b5f222fcc5a4da",
            "_sum": "378bd6999f57d14e905e31c41127a941b39d2a701986aaca82d4b5bf2ebc80a4",
        }
        assert hashlib.sha256(stream).hexdigest() == recorded[form]

    def test_it_expands_a_seed_as_ever(self, scheme):
        _, second = scheme.admit_column(bytes(8 * ROWS) + bytes(range(residues.SEED_BYTES)), ROWS)
        assert (
            hashlib.sha256(second.astype("<u8").tobytes()).hexdigest()
            == "fe3d04972b788d47e8c161a6cb05911432451c5bbbe018d1e7a038d7026124b3"
        )

    def test_slots_and_coefficients_are_the_same_polynomial(self, scheme):
        coefficients = np.random.default_rng(4).normal(size=GRAM.degree)
        plain = sealapi.Plaintext()
        scheme._encoder.encode(slots_of(coefficients).tolist(), GRAM.scale, plain)
        slots = np.array(scheme._encoder.decode_complex(plain))
        assert np.abs(coefficients_of(slots) - coefficients).max() < 1e-8

    def test_upper_bytes_lose_less_than_they_keep(self):
        words = np.random.default_rng(5).integers(0, Q, GRAM.degree, dtype=np.uint64)
        apart = words - unpack_upper(pack_upper(words))
        assert apart.max() < 2**24
