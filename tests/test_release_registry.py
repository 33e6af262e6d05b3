"""The registry of releases: states, history, repeats, crashes, hostile files, and its commands."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import common.releases.package
import common.storage
from common.consortium.plan import RunPlan
from common.errors import ConfigError, EncryptionError, PhenofedError, RunError, WeightsError
from common.releases.manifest import CARD, MANIFEST, PARAMETERS, SIGNATURE
from common.releases.release import Release
from server import checkpoints
from server.checkpoints import Checkpoint, RoundSummary
from server.releases import cli as release_cli
from server.releases.registry import ReleaseRegistry
from tests.consortium_folder import make_consortium
from tests.release_files import PLAN, make_finished_run, make_registry, publish_model, write_model
from tests.training_hospitals import plan_in, sign_plan


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Release]:
    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder / str(rounds), rounds=rounds) for rounds in (1, 2, 3)]


@pytest.fixture
def registry(tmp_path: Path) -> ReleaseRegistry:
    return make_registry(tmp_path / "registry")


def states(registry: ReleaseRegistry) -> list[str]:
    return [registry.state(entry.id) for entry in registry.releases]


def test_a_release_is_candidate_then_current_then_retired(registry, models):
    first, second = (publish_model(registry, model) for model in models[:2])
    assert (first.number, second.number, registry.current) == (1, 2, None)
    assert states(registry) == ["candidate", "candidate"]
    registry.promote("1")
    assert states(registry) == ["current", "candidate"]
    registry.promote(second.id)
    assert states(registry) == ["retired", "current"]
    assert registry.read(second.id).digest == models[1].digest


def test_rolling_back_walks_along_the_line_of_current_releases(registry, models):
    ids = [publish_model(registry, model).id for model in models]
    for release in ids:
        registry.promote(release)
    assert [registry.rollback(), registry.rollback()] == [ids[1], ids[0]]
    with pytest.raises(ConfigError, match="no release was current before"):
        registry.rollback()
    registry.promote(ids[2])
    assert registry.rollback() == ids[0]
    what = [event.what for event in registry.history]
    assert what == ["publish"] * 3 + ["promote"] * 3 + ["rollback"] * 2 + ["promote", "rollback"]


def test_rolling_back_by_name_takes_only_what_was_current(registry, models):
    ids = [publish_model(registry, model).id for model in models]
    for release in ids[:2]:
        registry.promote(release)
    with pytest.raises(ConfigError, match="was not current before"):
        registry.rollback(ids[2])
    assert registry.rollback(ids[0]) == registry.rollback(ids[0]) == ids[0] == registry.current


def test_asking_again_changes_nothing(registry, models):
    listed = publish_model(registry, models[0])
    registry.promote("1")
    before = (registry.folder / "registry.json").read_bytes()
    assert publish_model(registry, models[0]) == listed
    registry.promote(listed.id)
    assert (registry.folder / "registry.json").read_bytes() == before


def test_a_name_that_fits_none_or_several_is_refused(registry, models):
    for model in models[:2]:
        publish_model(registry, model)
    assert registry.find(registry.releases[1].id[:-3]).number == 2
    for name in ("trial-", "7", "", "other"):
        with pytest.raises(ConfigError, match="release"):
            registry.find(name)


@contextmanager
def failing_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[Callable[[], int]]:
    """The ``number``-th step that reaches the disk fails as on a full one; gives how many there were."""
    seen = 0

    def guarded(real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **named: object) -> object:
            nonlocal seen
            seen += 1
            if seen == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **named)

        return step

    with monkeypatch.context() as patched:
        for name in ("fsync", "replace", "rename"):
            patched.setattr(os, name, guarded(getattr(os, name)))
        patched.setattr(common.storage.tempfile, "mkstemp", guarded(common.storage.tempfile.mkstemp))
        patched.setattr(
            common.releases.package.tempfile, "mkdtemp", guarded(common.releases.package.tempfile.mkdtemp)
        )
        yield lambda: seen


def test_a_crash_at_any_write_leaves_the_registry_before_or_after(tmp_path, models, monkeypatch):
    base = make_registry(tmp_path / "base")
    publish_model(base, models[0])
    base.promote("1")
    failures = 0
    for number in range(1, 60):
        folder = tmp_path / f"crash-{number}"
        shutil.copytree(base.folder, folder)
        broken = ReleaseRegistry(folder)
        with failing_at(monkeypatch, number) as steps:
            try:
                publish_model(broken, models[1])
                broken.promote("2")
            except RunError:
                failures += 1
            if steps() < number:
                break
        after = ReleaseRegistry(folder)
        assert states(after) in (["current"], ["current", "candidate"], ["retired", "current"])
        assert all(after.read(entry.id) for entry in after.releases)
        publish_model(after, models[1])
        after.promote("2")
        assert states(after) == ["retired", "current"]
        assert len(list((folder / "releases").iterdir())) == 2
    assert failures == number - 1 > 20


def test_what_a_killed_publish_left_is_swept_and_published_again(registry, models):
    listed = publish_model(registry, models[0])
    (registry.folder / "registry.json").unlink()
    (registry.place(listed.id) / CARD).unlink()
    left = registry.folder / "releases" / ".incoming-left"
    left.mkdir()
    again = publish_model(registry, models[0])
    assert again.id == listed.id
    assert registry.read(again.id).signed
    assert not left.exists()


@pytest.mark.parametrize("name", [PARAMETERS, MANIFEST, CARD, SIGNATURE])
def test_an_altered_release_is_neither_promoted_nor_rolled_back_to(registry, models, name):
    ids = [publish_model(registry, model).id for model in models[:2]]
    for release in ids:
        registry.promote(release)
    file = registry.place(ids[0]) / name
    file.write_bytes(file.read_bytes()[:-2] + b"!\n")
    before = (registry.folder / "registry.json").read_bytes()
    for act in (registry.rollback, lambda: registry.promote(ids[0]), lambda: publish_model(registry, models[0])):
        with pytest.raises(WeightsError):
            act()
    assert (registry.folder / "registry.json").read_bytes() == before


def test_a_registry_whose_pointer_was_moved_by_hand_is_refused(registry, models):
    ids = [publish_model(registry, model).id for model in models[:2]]
    registry.promote(ids[0])
    path = registry.folder / "registry.json"
    path.write_text(path.read_text().replace(f'"current": "{ids[0]}"', f'"current": "{ids[1]}"'))
    with pytest.raises(RunError, match="its history leads to another release"):
        registry.promote(ids[1])


def test_two_commands_at_a_time_do_not_change_a_registry(registry, models):
    with registry.locked(), pytest.raises(ConfigError, match="another command"):
        publish_model(registry, models[0])


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    release_cli.register(app)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["release", *map(str, arguments)])


def done(*arguments: object) -> str:
    result = run(*arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registry that holds the release of a finished run, and that run."""
    folder = tmp_path_factory.mktemp("published")
    make_finished_run(folder / "run")
    done("key", folder / "registry", "--key-file", folder / "k.key")
    done("publish", folder / "registry", folder / "run", "--name", "Zürich trial")
    return folder


def test_a_finished_run_is_published_promoted_shown_and_exported_by_commands(published, tmp_path):
    registry = tmp_path / "registry"
    shutil.copytree(published / "registry", registry)
    assert "candidate" in done("list", registry)
    assert "is current" in done("promote", registry, 1)
    card = done("show", registry)
    assert "# Model card: Zürich trial, release 1" in card
    assert "state here: current" in card
    assert "signed and whole" in done("verify", registry)
    done("export", registry, tmp_path / "release.zip")
    assert "signed and whole" in done("verify", tmp_path / "release.zip", "--key", registry / "release.pub")


@pytest.mark.parametrize(
    ("arguments", "error", "what"),
    [
        (("list", "{run}"), ConfigError, "no registry of releases"),
        (("publish", "{registry}", "{registry}"), RunError, "holds no release"),
        (("publish", "{registry}", "{run}", "--parent", "9"), ConfigError, "no release '9'"),
        (("publish", "{registry}", "{run}", "--key-file", "{other}"), EncryptionError, "does not open"),
        (("promote", "{registry}", "9"), ConfigError, "no release '9'"),
        (("rollback", "{registry}"), ConfigError, "no release was current before"),
        (("show", "{registry}"), ConfigError, "no release is current"),
        (("verify", "{run}"), ConfigError, "no key to verify with"),
        (("verify", "{run}/releases", "--key", "{registry}/release.pub"), WeightsError, "is not signed"),
        (("verify", "{run}/scenario.yaml", "--key", "{registry}/release.pub"), WeightsError, "is no release"),
        (("verify", "{registry}", "--key", "{run}/scenario.yaml"), ConfigError, "holds no release key"),
        (("key", "{registry}"), ConfigError, "has a release key already"),
    ],
)
def test_bad_input_of_the_commands_is_one_line_with_a_remedy(published, arguments, error, what):
    other = published / "other.key"
    if not other.exists():
        common.storage.write_bytes(other, bytes(range(32)), private=True)
    places = {"registry": published / "registry", "run": published / "run", "other": other}
    found = run(*(text.format(**places) for text in arguments)).exception
    assert isinstance(found, PhenofedError)
    assert isinstance(found, error), found
    assert what in str(found)
    assert found.remedy
    assert "\n" not in str(found)


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunPlan]:
    """A run of two rounds that the coordinator led, the second without enough updates; and its plan."""
    folder = tmp_path_factory.mktemp("led")
    make_consortium(folder, ("alpha", "beta"))
    plan_file = sign_plan(
        folder, silos=["alpha", "beta"], expires="2020-01-01", training=PLAN.model_dump(mode="json")
    )
    plan, run = plan_in(folder, plan_file), folder / "operator" / "relay" / "runs" / "spring"
    model = write_model(run / "release", scenario="spring")
    shutil.copy(plan_file, run / "plan.json")
    summary = RoundSummary(1, 1.0, 1.0, {}, {}, False, 1.0, {"alpha": 40, "beta": 12}, {"alpha": 80, "beta": 30})
    failed = RoundSummary(2, 1.0, 1.0, {}, {"beta": "no reply"}, True, 0.0, {"alpha": 41}, {"alpha": 82})
    checkpoints.write(run, Checkpoint("spring", model.parameters, (summary, failed)))
    return run, plan


def test_a_run_of_the_coordinator_is_published_with_its_plan_and_its_silos_sizes(published, led, tmp_path):
    run_folder, plan = led
    registry = tmp_path / "registry"
    shutil.copytree(published / "registry", registry)
    done("publish", registry, run_folder)
    card = done("show", registry, 2)
    assert plan.digest in card
    assert "| alpha | 40 | 80 | not recorded |" in card
    assert "1 without enough valid updates changed nothing" in card
    assert "stayed in their hospitals" in card


def test_figures_measured_elsewhere_stand_on_the_card_with_their_source(published, led, tmp_path):
    registry, figures = tmp_path / "registry", tmp_path / "held-out.json"
    shutil.copytree(published / "registry", registry)
    found = {
        "schema": 1,
        "scorer": "prototypes",
        "metrics": {"federated": {"F/F": {"classes": 94, "top1": 0.399, "top10": 0.811}}},
        "intervals": {"federated": {"F/F": {"top1": [0.352, 0.44]}}},
    }
    figures.write_text(json.dumps(found))
    done("publish", registry, led[0], "--figures", figures)
    card = done("show", registry, 2)
    assert "39.9 (35.2 to 44.0)" in card
    assert f"held-out.json, SHA-256 `{common.storage.sha256_file(figures)}`" in card
    for wrong in ("{", "[]", json.dumps({**found, "metrics": {}}), json.dumps({**found, "schema": 2}), "\0"):
        figures.write_text(wrong)
        error = run("publish", published / "registry", led[0], "--figures", figures).exception
        assert isinstance(error, RunError), wrong
        assert error.remedy
    missing = run("publish", published / "registry", led[0], "--figures", tmp_path / "none.json").exception
    assert isinstance(missing, RunError)


def test_a_run_whose_plan_or_model_was_exchanged_is_not_published(published, led, tmp_path):
    relay = tmp_path / "relay"
    shutil.copytree(led[0].parents[1], relay)
    run_folder = relay / "runs" / "spring"
    write_model(run_folder / "release", scenario="other")
    assert "is not what" in str(run("publish", published / "registry", run_folder).exception)
    plan = run_folder / "plan.json"
    plan.write_bytes(plan.read_bytes().replace(b"alpha", b"gamma"))
    assert isinstance(run("publish", published / "registry", run_folder).exception, ConfigError)


def test_a_name_or_plan_that_does_not_fit_is_refused_and_nothing_listed(published, tmp_path):
    registry = tmp_path / "registry"
    shutil.copytree(published / "registry", registry, ignore=shutil.ignore_patterns("registry.json", "releases"))
    for wrong in (("--name", "two\nlines"), ("--plan", "abc")):
        found = run("publish", registry, published / "run", *wrong).exception
        assert isinstance(found, ConfigError), found
    assert ReleaseRegistry(registry).releases == ()


def test_verify_names_every_release_that_is_refused(published, tmp_path):
    registry = tmp_path / "registry"
    shutil.copytree(published / "registry", registry)
    place = next((registry / "releases").iterdir())
    (place / CARD).write_text("# Another card\n")
    found = run("verify", registry)
    assert isinstance(found.exception, WeightsError)
    assert place.name in str(found.exception)


def test_the_private_half_of_the_release_key_is_sealed_and_private(published):
    path = published / "registry" / "release.key"
    assert path.stat().st_mode & 0o077 == 0
