"""The folder of the models: which are there, fetching them from a hub or a local folder, and checking them."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from inference.models.catalogue import Model, ModelFile
from inference.models.digests import BLOCK_BYTES, Digest, digest_of, hasher
from inference.models.download import DiskError, Download, Progress, Wanted, part_of, write, writing
from inference.models.files import has_file, missing_files
from inference.models.hub import Hub
from inference.models.lock_file import LockFile, alone
from inference.models.source import Found, check_folder, find
from inference.types import EngineError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found of one file. ``problem`` is empty if the file is right, or if nobody knows its digest."""

    file: Path
    problem: str = ""
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """
    The models in ``folder``, each in a folder of its own name.

    All methods block. They raise ``EngineError`` with what to do. ``sleep`` and ``free_bytes`` are those of
    ``Download``.
    """

    folder: Path
    hub: Hub
    progress: Progress
    sleep: Callable[[float], None] = time.sleep
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free

    def path(self, model: Model) -> Path:
        """The folder of a model, whether it is there or not."""
        return self.folder / model.name

    def missing(self, model: Model) -> list[ModelFile]:
        """The files without which the model does not work."""
        return missing_files(self.path(model), model)

    def fetch(self, model: Model, *, source: Path | None = None, renew: bool = False) -> Path:
        """
        Make sure that all files of a model are there, and return its folder.

        ``source`` is a folder to copy them from instead of the hub: its files lie in a folder with the model's name, or
        directly in it. With ``renew`` all files are fetched again, and digests that only the lock file knows may
        differ from those of before.
        """
        if source is not None:
            check_folder(source)
        with (
            writing(self.path(model)),
            alone(
                self.folder / f".{model.name}.fetching",
                on_wait=lambda: self.progress.note(f"Another process is fetching {model.name}: waiting for it."),
            ),
        ):
            wanted = [file for file in model.files if renew or not has_file(self.path(model), file)]
            if wanted and not model.repository and source is None:
                raise EngineError(
                    f"{model.name} is at no hub. Copy it from a folder: `manage.py models fetch {model.name} --from "
                    "FOLDER`.",
                    permanent=True,
                )
            forgotten = self._lock_file.forget(model.name) if renew else []
            try:
                for file in wanted:
                    with _if_needed(model, file):
                        if source is not None:
                            self._copy(model, file, source)
                        else:
                            self._download(model, file)
            finally:
                if forgotten:  # the files that did not come are still those of before
                    self._lock_file.restore(forgotten)
        return self.path(model)

    def verify(self, model: Model) -> list[Finding]:
        """Read every file of a model and compare its digest with the catalogue's, or else with the lock file's."""
        return [self._verify(model, file) for file in model.files]

    @property
    def _lock_file(self) -> LockFile:
        return LockFile(self.folder)

    def _target(self, model: Model, file: ModelFile) -> Path:
        return self.path(model) / file.name

    def _expected(self, model: Model, file: ModelFile) -> tuple[Digest | None, str]:
        """The digest that a file must have, and who says so."""
        if file.sha256:
            return Digest("sha256", file.sha256), "the catalogue"
        entry = self._lock_file.find(model.name, file.name)
        if entry is None:
            return None, "the catalogue"
        return entry.parsed, f"models.lock of {entry.when} (`--renew` accepts a change)"

    def _revision(self, model: Model) -> str:
        """All files of a model come from one commit, also if the catalogue names only a branch."""
        return (model.revision == "main" and self._lock_file.commit_of(model.name)) or model.revision

    def _download(self, model: Model, file: ModelFile) -> None:
        digest, said_by = self._expected(model, file)
        url = model.url(file, hub=self.hub.address, revision=self._revision(model))
        wanted = Wanted(url, self._target(model, file), file.size, digest, said_by)
        try:
            got = Download(wanted, self.hub, self.progress, self.sleep, self.free_bytes).run()
        except DiskError:
            raise
        except EngineError as error:
            advice = "" if file.document else f"\n{self._by_hand(model)}"
            raise EngineError(f"{error}{advice}", permanent=error.permanent) from error
        self._lock_file.add(model.name, file.name, url=url, digest=got.digest, size=got.size, commit=got.commit)

    def _by_hand(self, model: Model) -> str:
        revision = self._revision(model)
        lines = [
            f"  {model.url(file, hub=self.hub.address, revision=revision)}\n    as {self._target(model, file)}"
            for file in self.missing(model)
        ]
        return (
            f"{model.name} is not complete. A later `manage.py models fetch {model.name}` continues. To do it by hand, "
            "save these files, or copy them with `--from FOLDER`:\n" + "\n".join(lines)
        )

    def _copy(self, model: Model, file: ModelFile, source: Path) -> None:
        found = find(source, model, file)
        if found is None:
            if file.document:
                return
            raise EngineError(
                f"{source} has neither {model.name}/{file.name} nor {Path(file.name).name}, which {model.name} needs.",
                permanent=True,
            )
        if file.size not in (None, found.size):
            raise EngineError(
                f"{found.path} is damaged or another file: it has {found.size} bytes, and the catalogue says "
                f"{file.size}. It was not copied.",
                permanent=True,
            )
        expected, said_by = self._expected(model, file)
        digest = self._copy_bytes(found, self._target(model, file), expected, said_by)
        url = os.path.realpath(found.path)
        self._lock_file.add(model.name, file.name, url=url, digest=digest, size=found.size)

    def _copy_bytes(self, found: Found, target: Path, expected: Digest | None, said_by: str) -> Digest:
        kind, part = expected.kind if expected else "sha256", part_of(target)
        computed = hasher(kind, found.size)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            self.progress.begin(target.name, 0, found.size)
            try:
                with part.open("wb") as copy:
                    for block in _blocks_of(found.path):
                        write(copy, block)
                        computed.update(block)
                        self.progress.advance(copy.tell())
                digest = Digest(kind, computed.hexdigest())
                if expected and digest != expected:
                    raise EngineError(
                        f"{found.path} is damaged or another file: it has {digest}, and {said_by} says {expected}. "
                        "It was not copied.",
                        permanent=True,
                    )
                os.replace(part, target)
            finally:
                self.progress.end()
                part.unlink(missing_ok=True)
        return digest

    def _verify(self, model: Model, file: ModelFile) -> Finding:
        target = self._target(model, file)
        expected, said_by = self._expected(model, file)
        try:
            status = target.stat()
            if not S_ISREG(status.st_mode):
                return Finding(target, "is no ordinary file")
            if file.size not in (None, status.st_size):
                return Finding(target, f"has {status.st_size} bytes instead of {file.size}")
            digest = digest_of(target, expected.kind if expected else "sha256")
        except FileNotFoundError:
            return Finding(target, "" if file.document else "is missing")
        except OSError as error:
            return Finding(target, f"cannot be read: {error.strerror}")
        if expected and digest != expected:
            return Finding(target, f"has {digest}, and {said_by} says {expected}")
        return Finding(target, digest=expected)


@contextmanager
def _if_needed(model: Model, file: ModelFile) -> Iterator[None]:
    """A document that cannot be fetched does not stop a model. What cannot be written stops all of them."""
    try:
        yield
    except DiskError:
        raise
    except EngineError as error:
        if not file.document:
            raise
        logger.warning("%s of %s was not fetched, and nothing needs it: %s", file.name, model.name, error)


def _blocks_of(path: Path) -> Iterator[bytes]:
    """Read a file. Raises an ``EngineError``, because an ``OSError`` here means that a file cannot be written."""
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise EngineError(f"Cannot read {path}: {error.strerror or error}.", permanent=True) from error
