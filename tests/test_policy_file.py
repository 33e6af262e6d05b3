"""policy.yaml as a file: every problem in one message, near misses named, keys that must go together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import deploy
from client.workspace.policy import InvalidPolicy, SiloPolicy, load_policy
from client.workspace.policy_here import check_here, missing_here
from common.config import Settings
from common.errors import AgentError

HERE = Path(str(deploy.__file__)).parent
MODEL = {"release": "release", "backbone": {"architecture": "thin", "sha256": "1" * 64}}


def written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def refused(folder: Path, content: dict[str, Any]) -> str:
    with pytest.raises(InvalidPolicy) as caught:
        load_policy(written(folder, content))
    return str(caught.value)


def test_every_problem_of_a_policy_is_told_at_once(tmp_path: Path) -> None:
    message = refused(
        tmp_path,
        {
            "alow": {"train": True},
            "rank": True,
            "hours": {"train": "20-06", "rank": "07:00-19:00"},
            "training": {"least_silo": 3, "max_update_norm": -1, "uses": ["fun"], "most_rounds": "many"},
            "budget": {"queries_a_year": 1000},
            "models": {"sha256": ["zz"], "signers": []},
            "clinic": {"group": "doctors"},
            "discovery": {"treshold": 0.7},
            "metrics_port": 0,
        },
    )
    for problem in (
        "unknown key 'alow' (did you mean 'allow'?)",
        "unknown key 'rank' (did you mean 'allow.rank' or 'hours.rank'?)",
        "unknown key 'training.least_silo' (did you mean 'training.least_silos'?)",
        "unknown key 'discovery.treshold' (did you mean 'discovery.threshold'?)",
        "'hours.train': hours are HH:MM-HH:MM",
        "'hours.zone': is missing",
        "'training.max_update_norm': input should be greater than 0",
        "'training.uses.0': input should be 'research', 'clinical-care' or 'methods'",
        "'training.most_rounds': input should be a valid integer",
        "'budget.queries_a_year': 1000 is more than the 128 of profile standard",
        "'models.sha256.0':",
        "'models.signers': tuple should have at least 1 item",
        "'clinic': socket and group belong together",
        "'metrics_port': input should be greater than or equal to 1",
    ):
        assert problem in message
    assert message.count(";") == 14, message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"budget": {"queries_a_year": 33}, "profile": "strict"}, "33 is more than the 32 of profile strict"),
        ({"hours": {"train": "20:00-06:00"}}, "'hours.zone': is missing"),
        ({"hours": {"train": "20:00-20:00", "zone": "UTC"}}, "begins and ends at the same time"),
        ({"hours": {"train": "20:00-24:00", "zone": "UTC"}}, "hours are HH:MM-HH:MM"),
        ({"hours": {"zone": "Europe/Atlantis"}}, "no time zone of this name"),
        ({"hours": {"zone": "../../etc/passwd"}}, "no time zone of this name"),
        ({"hours": {"zone": "Europe"}}, "no time zone of this name"),
        ({"clinic": {"socket": "clinic.sock"}}, "socket and group belong together"),
        ({"model": MODEL, "models": {"sha256": ["2" * 64]}}, "does not name model.backbone.sha256"),
        ({"training": {"least_silos": 1}}, "'training.least_silos'"),
        ({"training": None}, "'training'"),
        ({"models": {"signers": ["somebody"]}}, "'models.signers.0"),
        ({"model": {"release": "x"}}, "key 'model.backbone' is missing"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(
    tmp_path: Path, content: dict[str, Any], problem: str
) -> None:
    assert problem in refused(tmp_path, content)


def test_what_is_judged_by_a_key_that_is_wrong_itself_is_not_told_twice(tmp_path: Path) -> None:
    message = refused(tmp_path, {"profile": "stern", "budget": {"queries_a_year": 1000}})
    assert "'profile'" in message
    assert "more than" not in message


@pytest.mark.parametrize("content", [b"allow: [", b"- rank", b"\xff\xfe", b"a: &x 1\nb: *x", b""])
def test_what_is_no_policy_at_all_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidPolicy):
        load_policy(path)


def test_the_proposed_policy_shows_every_key_with_its_default() -> None:
    shown = yaml.safe_load((HERE / "policy.yaml").read_text())
    assert shown == yaml.safe_load(yaml.safe_dump(SiloPolicy().model_dump(mode="json")))


def test_the_page_of_the_policy_tells_of_every_key() -> None:
    page = (HERE.parent / "docs" / "policy.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    told: set[str] = set()
    for row in rows:
        keys = re.findall(r"`([^`]+)`", row)
        above = keys[0].rpartition(".")[0]
        told |= {above + key if key.startswith(".") else key for key in keys}
    optional = {"model.release", "model.backbone", "model.allow_unsigned", "detector.path", "detector.sha256"}
    assert told == {*keys_of(SiloPolicy())} - {"model", "detector"} | optional


def keys_of(settings: Settings, above: str = "") -> list[str]:
    """Every key of a policy, dotted; a choice that may be absent is one key."""
    found: list[str] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        found += keys_of(value, f"{above}{name}.") if isinstance(value, Settings) else [above + name]
    return found


def test_paths_of_a_policy_are_relative_to_it_and_named_where_they_are_missing(tmp_path: Path) -> None:
    content = {
        "model": {"release": "release", "backbone": {"architecture": "thin", "path": "thin.safetensors"}},
        "detector": {"path": "yunet.onnx", "sha256": "1" * 64},
        "training": {"socket": "run/training.sock", "group": "nobody-knows"},
        "clinic": {"socket": "run/clinic.sock", "group": "nobody-knows-either"},
    }
    policy = load_policy(written(tmp_path, content))
    assert policy.clinic.socket == tmp_path / "run" / "clinic.sock"
    problems = missing_here(policy)
    assert [problem.split("'")[1] for problem in problems] == [
        "model.release",
        "model.backbone.path",
        "detector.path",
        "training.socket, its folder",
        "clinic.socket, its folder",
        "training.group",
        "clinic.group",
    ]
    with pytest.raises(AgentError, match=r"detector\.path.*nobody-knows-either"):
        check_here(policy)
    assert missing_here(SiloPolicy()) == []
