"""The model's files: release, backbone and face detector, by hash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from client.preflight.finding import Finding, failed, ok, warning
from client.preflight.site import Site
from client.workspace.adoption import adopted_release
from common.storage import sha256_file

_FETCH = "fetch the file again; change the hash only if you trust the new file"


def release(site: Site) -> Iterator[Finding]:
    """Whether the release verifies, as the agent will ask, and belongs to the backbone that the policy names.

    Raises:
        WeightsError: it does not verify.
    """
    model = site.policy.model
    if model is None:
        yield failed("the policy names no model", remedy="give model.release and model.backbone in policy.yaml")
        return
    found = adopted_release(site.workspace, model)
    wanted = found.manifest.backbone
    if wanted.architecture != model.backbone.architecture:
        yield failed(
            f"{found.name} was trained from {wanted.architecture}, the policy names {model.backbone.architecture}",
            remedy="name the release's own backbone in policy.yaml",
        )
    elif wanted.sha256 and model.backbone.sha256 and wanted.sha256 != model.backbone.sha256:
        yield failed(
            f"{found.name} was trained from another backbone file than the policy names",
            remedy=f"get the file with SHA-256 {wanted.sha256}",
        )
    elif model.allow_unsigned and not found.signed:
        yield warning(
            f"{found.name} is whole, but nobody signed it", remedy="adopt a signed one: phenofed silo adopt"
        )
    else:
        yield ok(f"{found.name} is whole and signed by the consortium's release key")


def backbone(site: Site) -> Iterator[Finding]:
    """Whether the backbone's file has the hash that the policy and the release expect."""
    model = site.policy.model
    if model is None or model.backbone.path is None:
        yield ok("no file to check")
        return
    expected = model.backbone.sha256 or adopted_release(site.workspace, model).manifest.backbone.sha256
    yield _hashed(model.backbone.path, expected)


def detector(site: Site) -> Iterator[Finding]:
    """Whether the detector's file has the hash that the policy expects."""
    chosen = site.policy.detector
    if chosen is None:
        yield warning(
            "the policy names none: only aligned crops can be ranked",
            remedy="give detector.path and detector.sha256 in policy.yaml",
        )
    else:
        yield _hashed(chosen.path, chosen.sha256)


def _hashed(path: Path, expected: str | None) -> Finding:
    try:
        found = sha256_file(path)
    except OSError as error:
        return failed(f"cannot read {path} ({error.strerror})", remedy="check the path in policy.yaml")
    if expected is None:
        return warning(
            f"{path} has SHA-256 {found}, and nothing says which it should have",
            remedy="give its sha256 in policy.yaml, if you trust the file",
        )
    if found != expected.strip().lower():
        return failed(f"{path} has SHA-256 {found}, not {expected}", remedy=_FETCH)
    return ok(f"{path.name} has the expected SHA-256 {found[:16]}...")
