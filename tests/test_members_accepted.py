"""A new member waits until the hospital accepts it by its words; a changed card is a new member."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from client.workspace.members import FILE, Accepted, strangers, strangers_of
from client.workspace.workspace import Workspace
from common.consortium.identity import Member
from common.consortium.words import fingerprint_words
from common.errors import AgentError
from tests.consortium_folder import add_silo, done, found_consortium, kit_of, new_silo, refusal


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A consortium of west, then east, then late, who joined in that order; west has the newest roster."""
    folder = tmp_path_factory.mktemp("consortium")
    found_consortium(folder)
    for name in ("west", "east", "late"):
        add_silo(folder, name)
    done("silo", "join", folder / "west", kit_of(folder, "everybody"))
    return folder


def waiting(folder: Path) -> frozenset[str]:
    """Who is on a workspace's roster and not accepted there."""
    workspace = Workspace(folder)
    return strangers(workspace.roster(), Accepted(folder), workspace.name)


def states(folder: Path) -> dict[str, str]:
    """Name -> what the list says of it, over the lines that a cell may take."""
    found: dict[str, str] = {}
    name = ""
    for line in done("silo", "members", folder).splitlines():
        if len(cells := [cell.strip() for cell in line.split("│")]) > 3:
            name = cells[1] or name
            found[name] = f"{found.get(name, '')} {cells[2]}".strip()
    return found


def test_the_first_roster_is_accepted_with_the_join_and_later_members_wait(made: Path) -> None:
    assert waiting(made / "late") == frozenset()
    assert waiting(made / "east") == frozenset()
    assert waiting(made / "west") == {"east", "late"}
    assert stat.S_IMODE((made / "west" / FILE).stat().st_mode) == 0o600


def test_accepting_asks_for_the_words_and_is_remembered(made: Path) -> None:
    west = made / "west"
    assert "nobody is there to confirm" in str(refusal("silo", "members", "accept", west, "late"))
    assert waiting(west) == {"east", "late"}
    words = fingerprint_words(Workspace(west).roster().member("late").card.fingerprint)
    assert words in done("silo", "members", "accept", west, "late", "--yes").replace("\n", " ")
    assert waiting(west) == {"east"}
    assert "accepted already" in done("silo", "members", "accept", west, "late")
    listed = done("silo", "members", west)
    assert listed == done("silo", "members", "list", west)
    assert states(west) == {"east": "no", "late": "yes", "west": "you"}


def test_policy_may_accept_whoever_the_operator_adds(made: Path) -> None:
    workspace = Workspace(made / "west")
    policy = workspace.policy()
    assert strangers_of(workspace, policy, workspace.roster()) == waiting(made / "west") != frozenset()
    automatic = policy.model_copy(update={"members": "automatic"})
    assert strangers_of(workspace, automatic, workspace.roster()) == frozenset()


def test_nobody_accepts_strangers_or_itself(made: Path) -> None:
    assert refusal("silo", "members", "accept", made / "west", "nobody", "--yes").exit_code == 3
    assert "this hospital" in str(refusal("silo", "members", "accept", made / "west", "west", "--yes"))


def test_a_member_with_another_card_has_to_be_accepted_anew(tmp_path: Path) -> None:
    operator = found_consortium(tmp_path)
    east, west = add_silo(tmp_path, "east"), add_silo(tmp_path, "west")
    assert waiting(west) == frozenset()
    done("consortium", "revoke", operator, "east", "--yes")
    again = new_silo(tmp_path, "east-again", "east")
    done("consortium", "add", operator, again / "request.json", "--yes")
    done("silo", "join", west, kit_of(tmp_path, "everybody"))
    assert waiting(west) == {"east"}
    assert states(west)["east"] == "no: another card than before"
    assert "ask why" in done("silo", "members", "accept", west, "east", "--yes")
    assert waiting(west) == frozenset()
    assert not Accepted(west).holds(Workspace(east).member().card)


def test_a_damaged_or_lost_list_accepts_nobody(tmp_path: Path) -> None:
    card = Member("east").card
    Accepted(tmp_path).accept([card])
    assert Accepted(tmp_path).holds(card)
    for content in (
        b"{",
        b'{"version": 2, "accepted": {}}',
        b'{"version": 1, "accepted": {"east": "x"}}',
        b"[" * 9000,
    ):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(AgentError, match="damaged"):
            Accepted(tmp_path)
    (tmp_path / FILE).unlink()
    assert not Accepted(tmp_path).holds(card)


def test_the_file_names_cards_and_nothing_else(made: Path) -> None:
    content = json.loads((made / "late" / FILE).read_text())
    assert set(content) == {"version", "accepted"}
    assert set(content["accepted"]) == {"east", "west"}
