"""Reads the Dockerfiles of docker/, as far as they go: their stages and instructions."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from tests.real_services import ROOT

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@dataclass(frozen=True)
class Instruction:
    """``COPY --from=packages /venv /venv`` is ``COPY`` with this ``text``."""

    name: str
    text: str

    @property
    def command(self) -> list[str]:
        """The program and arguments of ``CMD``, ``ENTRYPOINT`` or of the command of ``HEALTHCHECK``."""
        return list(json.loads(self.text[self.text.index("[") :]))

    @property
    def pairs(self) -> dict[str, str]:
        """The variables of ``ENV``."""
        return dict(word.partition("=")[::2] for word in shlex.split(self.text))  # type: ignore[misc]


@dataclass
class Stage:
    """One stage of an image."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        return [instruction for instruction in self.instructions if instruction.name == name]

    def last(self, name: str) -> Instruction:
        return self.all(name)[-1]


def read(path: Path) -> list[Stage]:
    stages: list[Stage] = []
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            stages.append(Stage(base, stage))
        else:
            stages[-1].instructions.append(Instruction(name, " ".join(rest.split())))
    return stages
