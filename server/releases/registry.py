"""The registry of signed releases: publish, promote, roll back.

releases/ID/     model.safetensors, manifest.json, card.md, signature.json
registry.json    which releases there are, which one is current, and everything that was done
key.json  release.key  release.pub      see release_key

A release is a candidate until it is promoted, then current, then retired. ``registry.json`` is one file, written
whole: a crash leaves the registry as it was before or as it is after, and whatever was asked can be asked again.
"""

from __future__ import annotations

import datetime
import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from common.config import Settings
from common.errors import ConfigError, RunError
from common.releases.manifest import ReleaseId
from common.releases.package import install, read_files, sweep
from common.releases.release import Release
from common.releases.signing import Files, verified
from common.storage import write_json
from server.releases.key import read_about

STATE = "registry.json"

State = Literal["candidate", "current", "retired"]
Now = Callable[[], datetime.datetime]


class Event(Settings):
    """One thing that was done; ``release`` is the one that was published, or that became current."""

    at: datetime.datetime
    what: Literal["publish", "promote", "rollback"]
    release: ReleaseId


class Listed(Settings):
    """A release of the registry. ``number``: counted from 1 as they were published."""

    id: ReleaseId
    number: int
    published: datetime.datetime


class _State(Settings):
    version: Literal[1] = 1
    current: ReleaseId | None = None
    releases: tuple[Listed, ...] = ()
    history: tuple[Event, ...] = ()


class ReleaseRegistry:
    """The registry in ``folder``.

    Args:
        now: the clock that stamps what is done, in UTC.

    Raises:
        ConfigError: there is none: no release key was made there.
    """

    def __init__(self, folder: Path, now: Now = lambda: datetime.datetime.now(datetime.UTC)) -> None:
        self.folder, self.now = folder, now
        self.about = read_about(folder)

    @property
    def release_key(self) -> bytes:
        """(32 bytes) the public half of the key that signs its releases."""
        return bytes.fromhex(self.about.release_key)

    @property
    def releases(self) -> tuple[Listed, ...]:
        """All releases, oldest first."""
        return self._read().releases

    @property
    def history(self) -> tuple[Event, ...]:
        """What was done, oldest first."""
        return self._read().history

    @property
    def current(self) -> str | None:
        """The id of the release that silos should adopt; None before the first was promoted."""
        return self._read().current

    def state(self, release: str) -> State:
        """Whether the release of that id is candidate, current or retired."""
        state = self._read()
        if release == state.current:
            return "current"
        promoted = any(event.release == release and event.what != "publish" for event in state.history)
        return "retired" if promoted else "candidate"

    def find(self, name: str) -> Listed:
        """The release of that id, number, or beginning of an id.

        Raises:
            ConfigError: there is none, or several begin so.
        """
        listed = self.releases
        exact = [entry for entry in listed if name in (entry.id, str(entry.number))]
        found = exact or [entry for entry in listed if name and entry.id.startswith(name)]
        if len(found) != 1:
            what = f"{len(found)} releases begin with {name!r}" if found else f"there is no release {name!r}"
            raise ConfigError(what, remedy=f"see phenofed release list {self.folder}")
        return found[0]

    def place(self, release: str) -> Path:
        """Where the files of a release lie."""
        return self.folder / "releases" / release

    def read(self, release: str) -> Release:
        """A release, verified.

        Raises:
            WeightsError: its files are missing, altered or signed by another key.
        """
        return verified(read_files(self.place(release)), self.release_key, self.place(release))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time change the registry.

        Raises:
            ConfigError: another one does.
            RunError: the folder is not writable.
        """
        path = self.folder / ".lock"
        try:
            file = path.open("w")
        except OSError as error:
            raise RunError(
                f"cannot write {path} ({error.strerror})", remedy="work as the registry's owner"
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError("another command changes this registry", remedy="wait for it") from error
            yield

    @property
    def next_number(self) -> int:
        """The number of the release that is published next."""
        return max((entry.number for entry in self.releases), default=0) + 1

    def add(self, files: Files) -> Listed:
        """Take up a signed release as a candidate, under the lock; one that is there already stays as it is.

        Raises:
            WeightsError: it does not verify under the registry's key.
            RunError: the disk refuses; the registry is unchanged then.
        """
        release = verified(files, self.release_key, self.folder)
        origin = release.manifest.origin
        if known := next((entry for entry in self.releases if entry.id == release.name), None):
            return known
        if origin is None or origin.number != self.next_number:
            raise ConfigError(f"{release.name} has not the next number", remedy="publish it anew")
        sweep(self.folder / "releases")
        # A folder without a line in registry.json is what a crash left: it is not listed, and is replaced.
        install(files, self.place(release.name))
        state, now = self._read(), self.now()
        listed = Listed(id=release.name, number=origin.number, published=now)
        event = Event(at=now, what="publish", release=release.name)
        self._write(
            state.model_copy(update={"releases": (*state.releases, listed), "history": (*state.history, event)})
        )
        return listed

    def promote(self, release: str) -> None:
        """Make a release the current one; the one before is retired. Promoting the current one changes nothing.

        Raises:
            WeightsError: it does not verify.
        """
        with self.locked():
            self._make_current(self.find(release).id, "promote")

    def rollback(self, release: str | None = None) -> str:
        """Go back to ``release``, or to the one that was current before; gives the id of the one that is current.

        Raises:
            ConfigError: there is none to go back to.
            WeightsError: it does not verify.
        """
        with self.locked():
            state = self._read()
            if release is None:
                line = _line(state.history)
                if len(line) < 2:
                    raise ConfigError("no release was current before this one", remedy="promote another one")
                wanted = line[-2]
            else:
                wanted = self.find(release).id
                if wanted not in _line(state.history):
                    raise ConfigError(f"{wanted} was not current before", remedy="use phenofed release promote")
            self._make_current(wanted, "rollback")
            return wanted

    def _make_current(self, release: str, what: Literal["promote", "rollback"]) -> None:
        self.read(release)
        state = self._read()
        if state.current == release:
            return
        event = Event(at=self.now(), what=what, release=release)
        self._write(state.model_copy(update={"current": release, "history": (*state.history, event)}))

    def _read(self) -> _State:
        path = self.folder / STATE
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return _State()
        except OSError as error:
            raise RunError(f"cannot read {path} ({error.strerror})", remedy="check its owner") from error
        try:
            state = _State.model_validate_json(content)
        except ValidationError as error:
            raise RunError(f"{path} is damaged or of a newer program", remedy="restore it, or update") from error
        line = _line(state.history)
        if state.current != (line[-1] if line else None):
            raise RunError(f"{path} was altered: its history leads to another release", remedy="restore it")
        return state

    def _write(self, state: _State) -> None:
        write_json(self.folder / STATE, state.model_dump(mode="json"))


def _line(history: tuple[Event, ...]) -> list[str]:
    """The releases from the first that was current to the one that is; a rollback cuts the line off behind it."""
    line: list[str] = []
    for event in history:
        if event.what == "promote":
            line.append(event.release)
        elif event.what == "rollback" and event.release in line:
            del line[max(index for index, name in enumerate(line) if name == event.release) + 1 :]
    return line
