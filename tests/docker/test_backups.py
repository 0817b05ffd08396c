"""The commands of docs/backups.md, as they stand there, against a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg

from tests.calls.installation import ask_database
from tests.real_services import ROOT, migrate, process_env


def commands(heading: str) -> list[str]:
    """The commands of the first block under this heading of the page."""
    page = (ROOT / "docs" / "backups.md").read_text()
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    block = section.partition("```console\n")[2].partition("```")[0]
    found = [line.removeprefix("$ ") for line in block.splitlines()]
    assert found
    return found


def run(heading: str, env: dict[str, str]) -> None:
    script = "\n".join(["set -eu", *commands(heading)])
    done = subprocess.run(["sh", "-c", script], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_was_backed_up_comes_back(postgres_server, tmp_path):
    programs = f"{postgres_server._bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = process_env(tmp_path / "var", database_url=postgres_server.create_database("backups"))
    env |= {"PATH": programs, "BACKUP": str(tmp_path / "backup")}
    migrate(env)
    ask_database(env, "place", "3")
    sound = tmp_path / "var" / "media" / "recordings" / "2026" / "11" / "30" / "call.wav"
    spooled = tmp_path / "var" / "spool" / "recordings" / "other.wav"
    for path in (sound, spooled):
        path.parent.mkdir(parents=True)
        path.write_bytes(path.name.encode())

    run("Back up", env)
    shutil.rmtree(tmp_path / "var")
    env["DATABASE_URL"] = postgres_server.create_database("backups")
    run("Restore", env)

    with psycopg.connect(env["DATABASE_URL"]) as database:
        assert database.execute("SELECT count(*) FROM calls_call WHERE status = 'queued'").fetchall() == [(3,)]
    assert (sound.read_bytes(), spooled.read_bytes()) == (b"call.wav", b"other.wav")
