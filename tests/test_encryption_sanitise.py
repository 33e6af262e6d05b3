"""Nothing but ``sanitise`` turns encrypted scores into bytes."""

from __future__ import annotations

import ast
import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import common.encryption
from common.encryption import sanitise as sanitise_module
from common.encryption.evaluator import Evaluation, admit, evaluate
from common.encryption.sanitise import Response, sanitise, system_normal
from common.encryption.scheme import Scheme
from common.encryption.seal import SealScheme
from common.encryption.service import SiloService
from common.errors import EncryptionError
from tests.encryption_panel import Host, Layout, unit

FOLDER = Path(common.encryption.__file__).parent
LAYOUT = Layout(64, 40, 8)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    scheme = SealScheme(tmp_path_factory.mktemp("scheme"))
    secret, public = scheme.make_keys(LAYOUT.rotations)
    generator = np.random.default_rng(0)
    host = Host(scheme, scheme.load_keys(public, LAYOUT.rotations), LAYOUT, unit(generator, 40, 64))
    host.payload = scheme.encrypt(LAYOUT.pack(unit(generator, 8, 64).astype(np.float64)), secret)
    host.public = public
    return host


@pytest.fixture
def evaluation(host):
    return evaluate(host.scheme, host.gallery, admit(host.scheme, host.payload, host.keys), host.keys)


@pytest.mark.parametrize("attempt", [pickle.dumps, copy.copy, copy.deepcopy, bytes, memoryview, iter, dict, vars])
def test_an_evaluation_cannot_be_turned_into_bytes(evaluation, attempt):
    with pytest.raises((EncryptionError, TypeError)):
        attempt(evaluation)


def test_an_evaluation_has_nothing_that_saves_or_shows_it(evaluation):
    assert {name for name in dir(Evaluation) if not name.startswith("_")} == {"layout"}
    assert repr(evaluation) == "<Evaluation of 1 blocks>"


def test_sanitise_takes_evaluations_only_and_gives_a_response(host, evaluation):
    response = sanitise(host.scheme, evaluation, host.keys, mask_keys=[])
    assert isinstance(response, Response)
    with pytest.raises(AttributeError):
        sanitise(host.scheme, evaluation._blocks, host.keys, mask_keys=[])


def calls(tree, name):
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name
    ]


def test_only_sanitise_calls_release_and_builds_a_response():
    for path in FOLDER.glob("*.py"):
        tree = ast.parse(path.read_text())
        built = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Response"
        ]
        expected = 1 if path.name == "sanitise.py" else 0
        assert len(calls(tree, "release")) == expected, path
        assert len(built) == expected, path
        assert not [name for name in ast.walk(tree) if isinstance(name, ast.alias) and "pickle" in name.name], path


def test_the_library_saves_keys_fresh_queries_and_released_answers_only():
    tree = ast.parse((FOLDER / "seal.py").read_text())
    savers = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and (calls(function, "_save") or calls(function, "save"))
    }
    assert savers == {"make_keys", "save_secret", "encrypt", "release", "_save"}
    for path in FOLDER.glob("*.py"):
        if path.name != "seal.py":
            assert not calls(ast.parse(path.read_text()), "save"), path


def test_the_seam_gives_bytes_for_no_other_ciphertext():
    giving = {
        name
        for name, method in vars(Scheme).items()
        if callable(method) and "bytes" in str(getattr(method, "__annotations__", {}).get("return", ""))
    }
    assert giving == {"make_keys", "save_secret", "encrypt", "release"}


def test_release_insists_on_noise_and_mask(host):
    with pytest.raises(TypeError):
        host.scheme.release(None, host.keys)


def test_a_silos_worker_answers_sanitised_or_not_at_all(host):
    service = SiloService(lambda parameters: host.scheme)
    for command in (b"evaluate", b"save", b"encrypt", b"scores", b"begin", b""):
        with pytest.raises(EncryptionError):
            service.handle(command, [b"{}", b""])


def test_every_answer_is_noisy_unless_told_otherwise(host, evaluation, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        sanitise_module, "system_normal", lambda count: drawn.append(count) or system_normal(count)
    )
    sanitise(host.scheme, evaluation, host.keys, mask_keys=[])
    assert drawn == [2 * LAYOUT.parameters.slots]


def test_a_silo_without_any_row_answers_like_the_others(host):
    empty = Host(host.scheme, host.keys, LAYOUT, np.zeros((40, 64)))
    assert len(empty.respond(host.payload)) == len(host.respond(host.payload))


def test_noise_is_normal():
    values = system_normal(20_000)
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1, rel=0.05)
    assert np.mean(np.abs(values) < 1) == pytest.approx(0.683, abs=0.02)
    assert not np.array_equal(values, system_normal(20_000))
