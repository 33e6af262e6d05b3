"""The consortium that is hurt: founded as a trial is, behind fronts, with two of its folders on small disks."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import ssl
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import yaml

from client.local.door import call
from client.plans.deciding import NODE, approve_plan
from client.plans.shelf import PlanShelf
from client.training.node import read_node
from client.workspace.workspace import Workspace
from common.consortium.fields import split_address
from common.consortium.unlocking import find_secret
from common.errors import PhenofedError
from common.storage import sha256_file, write_text
from deploy.folder import ConsortiumFolder
from deploy.plans import read_draft, sign
from server.releases.pretrained import UNTOUCHED
from simulations.chaos import certificates
from simulations.chaos.disk import Disk
from simulations.chaos.front import Front, Network
from simulations.poc import processes, running
from simulations.poc.folder import About, TrialFolder
from simulations.poc.founding import found, free_port
from simulations.poc.patients import deal, scenario_for
from simulations.poc.releasing import adopt_everywhere, release, untouched
from simulations.progress import Silent
from simulations.weights import THIN

DAYS = 7
BIG = 1e6
"""Norm that an update may have at most; honest ones have far less."""
TRAINING = {"epochs": 1, "warmup_rounds": 1, "trainable_fraction": 0, "batch_size": 4}


class Ground:
    """A consortium of ``silos`` in ``folder``, ready to start; ``close`` ends all that was started.

    Args:
        deadline: seconds that a round waits.
    """

    def __init__(self, folder: Path, silos: int, *, deadline: int) -> None:
        self.place, self.deadline = TrialFolder(folder), deadline
        self._open = ExitStack()
        if not self.place.founded:
            _found(self.place, silos)
        self.silos = self.place.about().silos
        self.quorum = len(self.silos) - int(0.3 * len(self.silos))
        self._operator = ConsortiumFolder(self.place.operator)
        self._keys = self._operator.keys(find_secret(self._operator.about.key_file, whose="the offline keys"))
        self.spaces = {silo: Workspace(self.place.workspace(silo)) for silo in self.silos}
        self.network = Network()
        self._open.callback(self.network.close)
        try:
            self._lay()
        except BaseException:
            self.close()
            raise

    def _lay(self) -> None:
        runs = self.place.relay / "runs"
        runs.mkdir(exist_ok=True)
        self.small = self.silos[0]
        """The silo whose workspace lies on a small disk."""
        self.disks = {"coordinator": Disk(runs), self.small: Disk(self.spaces[self.small].folder)}
        for disk in self.disks.values():
            self._open.callback(disk.close)
        self.superlink_port = free_port()
        self.honest = certificates.shown(self.place.relay)
        self.fronts = {silo: self._before_superlink(silo) for silo in self.silos}
        self.relay_front = self._before_relay()
        self._open.callback(self._end)

    def _before_superlink(self, silo: str) -> Front:
        """A silo's own front where its node looks for the coordinator."""
        context = ssl.create_default_context(cafile=str(self.place.relay / "ca.pem"))
        return Front(
            self.network,
            "superlink",
            free_port(),
            self.superlink_port,
            shown=self.honest,
            onward=lambda _: (silo, context),
        )

    def _before_relay(self) -> Front:
        """A front where the roster says that the relay is, and the relay behind it."""
        settings, behind = self.place.relay / "relay.yaml", free_port()
        known = yaml.safe_load(settings.read_text())
        write_text(settings, yaml.safe_dump({**known, "port": behind}, sort_keys=False))
        names = {
            certificates.serial(space.folder / "certificate.pem"): silo for silo, space in self.spaces.items()
        }
        contexts = {
            silo: certificates.as_silo(space.tls.read(), self.place.path / "keys")
            for silo, space in self.spaces.items()
        }

        def onward(link: ssl.SSLObject) -> tuple[str, ssl.SSLContext]:
            shown = link.getpeercert(binary_form=True)
            silo = names[certificates.serial_of(shown or b"")]
            return silo, contexts[silo]

        shown = certificates.shown(self.place.relay, asking=self.place.relay / "ca.pem")
        _, port = split_address(self._operator.roster().relay)
        return Front(self.network, "relay", port, behind, shown=shown, onward=onward)

    def start(self, *silos: str) -> None:
        """Start the relay and these agents, or all, as far as they do not run."""
        with running.started(self.place, silos or self.silos):
            pass

    def wait_until_ranking(self, seconds: float = 180.0) -> None:
        """Until every agent is connected and a gallery epoch is open."""
        running.wait_until_ranking(self.place, self.silos, seconds=seconds)

    def rank(self, silo: str) -> tuple[int, str]:
        """Rank a new patient from a silo: how many hospitals answered, and what was said."""
        picture = sorted(self.place.probes.glob("*.png"))[0].read_bytes()
        values = {"patients": [["new", 1]], "top": 5, "keep": False, "aligned": True}
        try:
            answer = call(self.spaces[silo].socket_path, "rank", values, [picture])
        except PhenofedError as error:
            return 0, error.what
        silos = answer["lists"][0]["silos"]
        return len(silos), f"answered by {len(silos)} of {len(self.silos)}"

    def pid(self, name: str) -> int:
        """The number of the relay's or an agent's process."""
        return next(process.pid for process in processes.read(self.place.processes) if process.name == name)

    def node_pid(self, silo: str) -> int | None:
        """The number of a silo's Flower node, which leads a group of its own."""
        try:
            return int((self.spaces[silo].folder / NODE / "flower" / "node.pid").read_text())
        except (OSError, ValueError):
            return None

    def kill(self, name: str, *, agent: bool = True, node: bool = True) -> None:
        """SIGKILL to a silo's agent, to its node and all that the node started, or to the relay."""
        pid = self.node_pid(name) if node and name in self.spaces else None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        if agent:
            found = self.pid(name)
            with suppress(ProcessLookupError):
                os.kill(found, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(found, 0)

    def sign_plan(self, run: str, *, rounds: int, seed: int) -> Path:
        """A plan that all silos are named in, signed."""
        draft = {
            "run": run,
            "silos": list(self.silos),
            "use": "methods",
            "aim": "Faults, done to a consortium on one machine.",
            "superlink": f"127.0.0.1:{self.fronts[self.silos[0]].port}",
            "model": {"architecture": "thin", "sha256": sha256_file(THIN)},
            "training": {**TRAINING, "rounds": rounds},
            "encoding": {"views": 1, "ensemble": False},
            "seed": seed,
            "quorum": self.quorum,
            "deadline_s": self.deadline,
            "max_update_norm": BIG,
            "go_on_with_at_least": self.quorum,
            "expires": (datetime.date.today() + datetime.timedelta(days=DAYS)).isoformat(),
        }
        path = self.place.path / "plans" / f"{run}.yaml"
        write_text(path, yaml.safe_dump(draft, sort_keys=False))
        with self._operator.locked():
            return sign(self._operator, read_draft(self._operator, path), self._keys)

    def approve(self, run: str, signed: Path) -> list[Path]:
        """Let every silo approve; each node then goes by its own front."""
        return [self._approve(silo, run, signed) for silo in self.silos]

    def ask_at(self, silo: str, socket: Path | None) -> None:
        """Let a node ask for training at ``socket`` instead of at its agent; None: at the agent again."""
        place = self.spaces[silo].folder / NODE
        agent = socket or self.spaces[silo].folder.resolve() / "training.sock"
        settings = read_node(place).model_copy(
            update={"superlink": f"127.0.0.1:{self.fronts[silo].port}", "agent": agent}
        )
        write_text(place / "node.json", settings.model_dump_json(indent=1) + "\n")

    def false_certificate(self, *, days: tuple[int, int]) -> ssl.SSLContext:
        """What proves a coordinator whose certificate holds from so many days after today to so many."""
        return certificates.made(self._operator.root, self._keys.root, days, self.place.path / "keys")

    def logs(self) -> Iterable[Path]:
        """Every log file of every process."""
        yield from self.place.path.rglob("*.log")

    def close(self) -> None:
        """End all that was started, and keep the folder."""
        self._open.close()

    def _approve(self, silo: str, run: str, signed: Path) -> Path:
        PlanShelf(self.spaces[silo]).add(signed.read_bytes())
        approval = approve_plan(self.spaces[silo], run, by="the chaos suite")
        self.ask_at(silo, None)
        return approval

    def _end(self) -> None:
        with suppress(FileNotFoundError):
            for process in processes.read(self.place.processes):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGCONT)  # who was stopped cannot end
        running.stop(self.place)


def _found(place: TrialFolder, silos: int) -> None:
    shutil.rmtree(place.path, ignore_errors=True)
    place.path.mkdir(parents=True)
    scenario = scenario_for("smoke", [], silos)
    with tempfile.TemporaryDirectory(prefix="phenofed-") as work:
        patients = deal(scenario, work=Path(work) / "run", out=place.path, progress=Silent())
        found(place, scenario, patients)
        adopt_everywhere(place, patients.of, release(place, untouched(scenario), UNTOUCHED))
    place.remember(About(scenario=scenario, silos=tuple(patients.of)))
