"""The silo's agent: the one process that holds photos, gallery, keys, ledger and policy, and answers for them.

    with Agent(Workspace(folder)) as agent:
        agent.wait()

It keeps one outbound stream to the relay, a local socket for the hospital's own people, and worker processes for
everything homomorphic. Whatever crashes or hangs there is one refused query.
"""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from client.audit.answering import audited_peers, policy_note, training_note
from client.audit.entry import AGENT
from client.audit.opening import open_log
from client.clinic.kept import drop_kept
from client.discovery.answering import PREFIX
from client.discovery.desk import DiscoveryDesk
from client.discovery.ground import ENCODINGS, FOLDER, Ground
from client.gallery.adopted import adopted_encoder
from client.gallery.keeper import GalleryKeeper
from client.ledger.ledger import Ledger
from client.local.doors import opened
from client.monitoring.metrics import AgentMetrics
from client.monitoring.observing import observed_peers
from client.monitoring.snapshot import snapshot
from client.newest.following import follower_of
from client.ranking.answering import Answering
from client.ranking.gallery_epochs import GalleryEpochs
from client.ranking.proposing import Proposer
from client.ranking.querier import ConsortiumQuerier
from client.ranking.query_keys import QueryKeys
from client.ranking.standing import Matchable, Standing, allowed, matchable
from client.ranking.steward import Steward
from client.relay.gate import check_peer
from client.relay.link import LinkLimits, RelayLink
from client.relay.speaking import check_speaks
from client.training.service import TrainingService
from client.workspace.hours import utc_now
from client.workspace.members import FILE as MEMBERS
from client.workspace.members import strangers_of
from client.workspace.policy_here import check_here
from client.workspace.policy_in_force import PolicyInForce
from client.workspace.workspace import Workspace
from common.cohort.store import StoredCohort, load
from common.encryption.silo_session import SiloSession
from common.encryption.worker import Worker
from common.encryption.worker_pool import WorkerPool
from common.errors import AgentError, PhenofedError
from common.versions import SOFTWARE

LOG = logging.getLogger("phenofed.agent")
KERNEL = "linear"
LOOK_SECONDS, LEAST_SECONDS = 2.0, 3600.0
"""How often the agent looks for newly imported patients, and at consents even where nobody was imported."""

Today = Callable[[], datetime.date]


class Agent:
    """One silo's agent.

    Args:
        workspace: joined to a consortium, with a policy that names a model.
        today: the day on which consents and budgets are judged.
        now: the time by which hours are judged.
        limits: of the link to the relay.

    Raises:
        AgentError: something of the workspace is missing; the message says which command mends it.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        workers: int = 2,
        today: Today = datetime.date.today,
        now: Callable[[], datetime.datetime] = utc_now,
        limits: LinkLimits | None = None,
    ) -> None:
        self.workspace, self._today, self.now = workspace, today, now
        self._open = ExitStack()
        self._stopping = threading.Event()
        self._grounds: tuple[tuple[float, ...], Standing] | None = None
        self.in_force = PolicyInForce(workspace.folder / "policy.yaml")
        self.policy = policy = self.in_force()
        check_here(policy)
        self.encoder = adopted_encoder(workspace, policy, workspace.gallery_folder / "encodings.safetensors")
        member = workspace.member()
        relay = self.standing().roster.relay
        # Both are made when the silo joins. One made anew would forget what was answered, and about whom.
        self.keeper = GalleryKeeper(workspace.gallery_folder)
        self.ledger = Ledger(workspace.ledger_path, today=today)
        self._open.callback(self.ledger.close)
        self.workers = self._open.enter_context(WorkerPool("silo", count=workers))
        sessions = SiloSession(member, self.workers)
        self.epochs = GalleryEpochs(
            workspace.gallery_folder,
            member,
            ledger=self.ledger,
            keeper=self.keeper,
            sessions=sessions,
            standing=self.standing,
            patients=self._patients,
        )
        self.proposer = Proposer(workspace.name, self.epochs, standing=self.standing, ask=self._ask)
        own_worker = self._open.enter_context(Worker("querier"))
        self.keys = QueryKeys(
            workspace.folder / "keys", member, workspace.wrap_key("query keys"), own_worker, today=today
        )
        self.querier = ConsortiumQuerier(
            member,
            keys=self.keys,
            epochs=self.epochs,
            ledger=self.ledger,
            standing=self.standing,
            ask=self._ask,
        )
        self._answering = Answering(
            workspace.name,
            workspace.folder / "peers",
            ledger=self.ledger,
            sessions=sessions,
            epochs=self.epochs,
            standing=self.standing,
            rank_allowed=lambda: self.policy.allow.rank,
        )
        unsolved = workspace.folder / FOLDER / ENCODINGS
        ground = Ground(
            workspace,
            ledger=self.ledger,
            stored=self.stored,
            encoder=lambda: adopted_encoder(workspace, policy, unsolved),
            today=today,
        )
        self.discovery = DiscoveryDesk(ground, self._ask)
        self.audit = open_log(workspace, sealing=True)
        self.in_force.changed = policy_note(self.audit)
        self.metrics = AgentMetrics(lambda: snapshot(self), lambda: self.in_force.valid)
        self.link = RelayLink(
            relay,
            workspace.tls,
            workspace.name,
            observed_peers(self.metrics, audited_peers(self.audit, self._handle)),
            proxy=self.policy.relay.proxy,
            limits=limits,
        )
        self.follower = follower_of(self)
        self.steward = Steward(
            workspace.name, self.epochs, self.proposer, self.link, self.standing, lambda: self.policy.allow.rank
        )

    def start(self) -> None:
        """Serve: first what was open before, then the relay, then the hospital's own people.

        Raises:
            AgentError: another agent serves this workspace.
        """
        try:
            for door in opened(self):
                self._open.callback(door.close)
            self.audit.record("agent.start", AGENT, digest=self.in_force.digest, release=f"phenofed-{SOFTWARE}")
            note = training_note(self.audit)
            training = TrainingService(
                self.workspace, policy=self.in_force, today=self._today, now=self.now, note=note
            )
            self._open.callback(training.close)
            if self.policy.metrics_port is not None:
                self._open.enter_context(self.metrics.serve(self.policy.metrics_port))
            self.look_after()
            self.epochs.resume()
            self._encode_gallery()
            for looking in (self.steward, self.follower):
                self._open.callback(looking.join)
            self._open.callback(self.link.close)
            self.link.start()
            for looking in (self.steward, self.follower):
                self._open.callback(looking.close)
                looking.start()
        except BaseException:
            self.close()
            raise
        LOG.info("agent of %s serves", self.workspace.name)

    def wait(self) -> None:
        """Until ``stop``; consents are looked at after each import and once an hour: they expire by the day."""
        seen, looked = self._imported(), time.monotonic()
        while not self._stopping.wait(LOOK_SECONDS):
            now = self._imported(), time.monotonic()
            if now[0] != seen or now[1] - looked > LEAST_SECONDS:
                seen, looked = now
                self.look_after()

    def stop(self) -> None:
        """Let ``wait`` return."""
        self._stopping.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything in the order opposite to its start."""
        self._open.close()

    def standing(self) -> Standing:
        """What the silo goes by, read anew when the roster, the registry or the policy is replaced."""
        self.policy = self.in_force()
        files = [self.workspace.folder / name for name in ("roster.json", "registry.json", "policy.yaml", MEMBERS)]
        stamp = tuple(path.stat().st_mtime_ns if path.exists() else 0.0 for path in files)
        if self._grounds is None or self._grounds[0] != stamp:
            roster = self.workspace.roster()
            standing = Standing(
                roster=roster,
                registry=self.workspace.registry(),
                release=self.encoder.release.digest,
                floor=self.policy.floor,
                kernel=KERNEL,
                dimension=self.encoder.dimension,
                budget=self.policy.budget.queries_a_year,
                strangers=strangers_of(self.workspace, self.policy, roster),
            )
            self._grounds = (stamp, standing)
        return self._grounds[1]

    def stored(self) -> StoredCohort | None:
        """The silo's patients as they are now; None before the first import."""
        if not (self.workspace.cohort_folder / "manifest.json").is_file():
            return None
        return load(self.workspace.cohort_folder)

    def look_after(self) -> None:
        """Do what the day asks for: close the rows of those who withdrew, drop what was kept long enough."""
        try:
            self.close_withdrawn()
            drop_kept(self.workspace.folder / "kept", self.policy.keep.days, self._today())
        except PhenofedError as error:
            LOG.error("%s", error)

    def close_withdrawn(self) -> None:
        """Close the rows of everybody whose consent to matching no longer holds."""
        stored = self.stored()
        patients = allowed(stored, self._today()).patients if stored else ()
        closed = self.keeper.close_for(
            [patient.id for patient in patients],
            alone=[patient.id for patient in patients if patient.consent.alone],
        )
        self.epochs.close_rows(closed)
        if closed:
            LOG.info("closed %d rows after a consent ended", sum(len(rows) for rows in closed.values()))
        self.discovery.forget_withdrawn()

    def _handle(self, sender: str, topic: str, body: bytes) -> bytes:
        """Discovery and ranking are opted out of separately; neither serves a member that was not accepted."""
        check_peer(self, sender, topic)
        side = self.discovery if topic.startswith(PREFIX) else self._answering
        return side.handle(sender, topic, body)

    def _encode_gallery(self) -> None:
        """Before anybody can ask for counts: the first time takes long, and others would wait for it."""
        try:
            self._patients()
        except PhenofedError as error:
            LOG.warning("%s", error)

    def _imported(self) -> int:
        manifest = self.workspace.cohort_folder / "manifest.json"
        try:
            return manifest.stat().st_mtime_ns
        except OSError:
            return 0

    def _patients(self) -> Matchable:
        stored = self.stored()
        if stored is None:
            raise AgentError("no patients were imported yet", remedy="run phenofed silo import")
        return matchable(self.workspace, self.standing().registry, stored, self.encoder, self._today())

    def _ask(self, silo: str, topic: str, body: bytes, seconds: float) -> bytes:
        check_speaks(self.link.hello(silo), topic, silo)
        return self.link.request(silo, topic, body, deadline=seconds)
