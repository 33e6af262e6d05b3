"""Training for real: SuperLink, nodes and ServerApp as processes over TLS give the inline model to the bit."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from client.silo import Silo
from client.training.service import TrainingService
from common.learning.assembly import ModelPool
from common.records import digest
from common.releases.bare import read_release
from server.training.leading import lead, listening
from server.training.led_run import begin_run
from server.training.standing import Standing, standing_of
from simulations.engines.inline import run_inline
from simulations.weights import THIN
from tests.training_hospitals import NAMES, approve, found_trainers, sign_plan, workspace


def test_a_deployed_run_gives_the_inline_model_to_the_bit(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        folder = found_trainers(tmp_path / "made")
        signed = sign_plan(folder)
        approvals = [approve(folder, name, signed) for name in NAMES]
        run = begin_run(folder / "operator" / "relay", signed, approvals, backbone=THIN, parent=None)
        plain = replace(
            run.coordination(),
            folder=tmp_path / "inline",
            model=run.plan.model.model_copy(update={"path": THIN}).model_dump(mode="json"),
            digest="",
            cards={},
            members=None,
            fetched_apart=False,
        )
        noted: list[tuple[str, Any]] = []
        with contextlib.ExitStack() as stack:
            for name in NAMES:
                space = workspace(folder, name)
                service = TrainingService(
                    space, policy=space.policy, note=lambda event, about: noted.append((event, about.get("round")))
                )
                stack.callback(service.close)
            said: list[str] = []
            release = lead(run, listen=listening(run, None), say=said.append)
        lines = [json.loads(line) for line in (run.path / "run.log").read_text().splitlines()]
        # Two processes wrote it: the one that leads, and Flower's with the ServerApp.
        assert [line["event"] for line in lines if line["logger"] == "phenofed.run.leading"] == [
            *("run.began", "superlink.started", "superlink.ended", "release.written", "run.done")
        ]
        counted = {(line["round"], line["silo"]) for line in lines if line["event"] == "update.accepted"}
        assert counted == {(number, name) for number in (1, 2) for name in NAMES}
        assert standing_of(run.path).standing is Standing.RELEASED
        history = run.checkpoint().history
        assert [set(summary.losses) for summary in history] == [set(NAMES)] * 2, said
        assert sorted(noted, key=repr) == sorted(
            [("training.described", None), ("training.trained", 1), ("training.trained", 2)] * len(NAMES), key=repr
        )

        pool = ModelPool()

        def opened(name: str) -> Silo:
            place = tmp_path / "alone" / name
            shutil.copytree(folder / name / "cohort", place / "cohort")
            return Silo(name, place, pool=pool)

        inline = run_inline(plain, opened, on_round=lambda checkpoint: None)
        assert digest(read_release(release).parameters) == digest(inline.parameters)
        assert digest(inline.parameters) != digest(plain.initial)
    finally:
        torch.set_num_threads(threads)
