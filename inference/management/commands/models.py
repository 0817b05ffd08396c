"""``manage.py models``: lists, fetches and checks the weights of the models that run on this machine."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inference.management.options import interruptible, local_path
from inference.models.catalogue import CATALOGUE, Model
from inference.models.choice import choose, this_machine
from inference.models.hub import Hub
from inference.models.progress import progress_on
from inference.models.source import check_folder
from inference.models.store import Store
from inference.types import EngineError

PURPOSES = {"stt": "hears", "llm": "thinks", "tts": "speaks", "turn": "turn model"}


class Command(BaseCommand):
    help = "List, fetch and check the weights of the models that run on this machine."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|fetch|verify|where")
        listing = actions.add_parser("list", help="show the models, and which of them are here")
        listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
        fetch = actions.add_parser("fetch", help="fetch models from the hub (MODELS_HUB), or copy them from a folder")
        fetch.add_argument("names", nargs="*", metavar="NAME", help="default: those that fit this machine")
        fetch.add_argument(
            "--from", dest="source", type=local_path, metavar="FOLDER", help="copy from FOLDER/NAME/ or FOLDER/ instead"
        )
        fetch.add_argument(
            "--renew", action="store_true", help="fetch again, also if a digest differs from that in models.lock"
        )
        verify = actions.add_parser("verify", help="read all files again and compare their digests")
        verify.add_argument("names", nargs="*", metavar="NAME", help="default: all that are here")
        where = actions.add_parser("where", help="print the folder of a model")
        where.add_argument("name", metavar="NAME")
        where.add_argument("--json", action="store_true", help="print JSON instead of the path")

    @interruptible
    def handle(self, *, action: str, **options: Any) -> None:
        actions: dict[str, Callable[..., None]] = {
            "list": self._list,
            "fetch": self._fetch,
            "verify": self._verify,
            "where": self._where,
        }
        try:
            actions[action](store_of_settings(self._console()), **options)
        except EngineError as error:
            raise CommandError(str(error)) from error

    def _console(self) -> Console:
        return Console(file=cast(IO[str], self.stdout), highlight=False)

    def _list(self, store: Store, *, json: bool, **_: Any) -> None:
        chosen = choose(this_machine()).names
        if json:
            self._write_json({"folder": str(store.folder), "models": [_as_json(store, model) for model in _all()]})
            return
        table = Table(box=SIMPLE)
        for heading in ("name", "for", "here", "size", "what it is"):
            table.add_column(heading, overflow="fold", no_wrap=heading != "what it is")
        for model in _all():
            table.add_row(
                model.name + (" *" if model.name in chosen else ""),
                PURPOSES[model.purpose],
                "no" if store.missing(model) else "yes",
                f"{model.size / 1e6:.0f} MB",
                f"{escape(model.about)}\n[dim]licence: {escape(model.licence)}[/]",
            )
        console = self._console()
        console.print(table)
        console.print(f"* fits this machine ({this_machine()}). The models are in {store.folder}.", soft_wrap=True)

    def _fetch(self, store: Store, *, names: Sequence[str], source: Path | None, renew: bool, **_: Any) -> None:
        if not names:
            machine = this_machine()
            names = choose(machine).names
            self.stdout.write(f"For this machine ({machine}): {', '.join(names)}.")
        models = [_find(name) for name in names]
        if source is not None:
            check_folder(source)
        for model in models:
            if not renew and not store.missing(model):
                self.stdout.write(f"{model.name} is here already: {store.path(model)}")
                continue
            folder = store.fetch(model, source=source, renew=renew)
            self.stdout.write(f"{model.name} is complete: {folder} (licence of the weights: {model.licence})")

    def _verify(self, store: Store, *, names: Sequence[str], **_: Any) -> None:
        models = [_find(name) for name in names] or [model for model in _all() if os.path.isdir(store.path(model))]
        if not models:
            self.stdout.write(f"There is no model in {store.folder}.")
        bad = []
        for model in models:
            for finding in store.verify(model):
                if finding.problem:
                    bad.append(f"{finding.file} {finding.problem}")
                elif os.path.exists(finding.file):
                    note = "" if finding.digest else " (its digest is not known: nothing to compare it with)"
                    self.stdout.write(f"{finding.file}: right{note}")
        if bad:
            raise CommandError(
                "Wrong or missing:\n  - "
                + "\n  - ".join(bad)
                + "\nFetch again with `manage.py models fetch NAME --renew`."
            )

    def _where(self, store: Store, *, name: str, json: bool, **_: Any) -> None:
        model = _find(name)
        if json:
            self._write_json(_as_json(store, model))
            return
        if missing := store.missing(model):
            raise CommandError(
                f"{store.path(model)} has not all of {name}: {', '.join(file.name for file in missing)} is missing. "
                f"Fetch it with `manage.py models fetch {name}`."
            )
        self.stdout.write(str(store.path(model)))

    def _write_json(self, value: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(value, indent=2))


def store_of_settings(console: Console) -> Store:
    """The store of ``MODELS_FOLDER``, which fetches from ``MODELS_HUB``."""
    hub = Hub(settings.MODELS_HUB, settings.MODELS_TOKEN)
    return Store(settings.MODELS_FOLDER, hub, progress_on(console))


def _all() -> list[Model]:
    return list(CATALOGUE.values())


def _find(name: str) -> Model:
    try:
        return CATALOGUE[name]
    except KeyError:
        raise CommandError(f"There is no model {name!r}. Choose from: {', '.join(CATALOGUE)}.") from None


def _as_json(store: Store, model: Model) -> dict[str, Any]:
    missing = {file.name for file in store.missing(model)}
    return {
        "name": model.name,
        "for": model.purpose,
        "about": model.about,
        "licence": model.licence,
        "folder": str(store.path(model)),
        "fetched": not missing,
        "size_bytes": model.size,
        "memory_bytes": model.memory_bytes,
        "for_tests": model.for_tests,
        "files": [
            {
                "file": file.name,
                "size_bytes": file.size,
                "sha256": file.sha256,
                "fetched": file.name not in missing and os.path.isfile(store.path(model) / file.name),
                "url": model.url(file, hub=store.hub.address) if model.repository else None,
            }
            for file in model.files
        ],
    }
