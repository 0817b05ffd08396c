"""
Builds and runs the images of docker/ without a container engine, as far as that goes:

    python -m tests.docker.images web.Dockerfile           # make image-check
    python -m tests.docker.images speech.Dockerfile KIND=stt

Each instruction of the Dockerfile is carried out as it stands there, in a copy-on-write copy of this machine's root (an
overlay in a mount namespace of its own), with this machine's Python 3.11 in the place of the base image's. Then the
image runs: read-only but for its volumes and /tmp, as its own user, without any capability and with no-new-privileges.
The web image must answer its own HEALTHCHECK; an image of a GPU worker must import its engine.

It needs root, Linux and Debian 12. What it cannot show: the base images themselves, layers, and a GPU.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.docker.dockerfiles import Stage, read
from tests.real_services import ROOT

USER = "10001"
STARTED_WITHIN = 180.0
"""Seconds in which the web process answers."""
BARE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LD_LIBRARY_PATH": "/usr/local/lib",
    # Packages come from the public index alone, whatever this machine's pip is told.
    "PIP_CONFIG_FILE": os.devnull,
    **{name: os.environ[name] for name in ("PIP_CERT", "HTTPS_PROXY") if name in os.environ},
}
"""The environment before the ENV of a file."""


class Root:
    """The root of one stage: what its instructions have changed of this machine's root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changes, self._work, self.mount = (folder / name for name in ("changes", "work", "root"))
        for path in (self.changes, self._work, self.mount):
            path.mkdir(parents=True)

    def enter(self, script: str, *, env: dict[str, str], final: bool = False, args: tuple[str, ...] = ()) -> list[str]:
        """The command that runs a script of sh in this root; ``final``: as the image runs, and not as it is built."""
        overlay = f"lowerdir=/,upperdir={self.changes},workdir={self._work}"
        setup = [
            f"mount -t overlay overlay -o {overlay} {self.mount}",
            f"mount --rbind /dev {self.mount}/dev",
            f"mount -t proc proc {self.mount}/proc",
            # The Python of the images is in /usr/local as well.
            f"mount --bind {sys.base_prefix} {self.mount}/usr/local",
            f"mount -o remount,ro,bind {self.mount}/usr/local",
        ]
        inside = ["env", "-i", *(f"{name}={value}" for name, value in env.items()), "sh", "-c", script, "sh", *args]
        if final:
            setup += [f"mount -t tmpfs -o mode=1777 tmpfs {self.mount}/tmp"]
            for volume in ("data", "models", "voices"):
                if (self.changes / volume).is_dir():
                    (self.folder / volume).mkdir(exist_ok=True)
                    os.chown(self.folder / volume, int(USER), int(USER))
                    setup += [f"mount --bind {self.folder / volume} {self.mount}/{volume}"]
            setup += [f"mount -o remount,ro {self.mount}"]
            drop = f"--reuid {USER} --regid {USER} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all"
            inside = ["setpriv", *drop.split(), *inside]
        setup += [f"exec chroot {self.mount} " + shlex.join(inside)]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", "\n".join(setup)]


def build(stages: list[Stage], folder: Path, arguments: dict[str, str]) -> tuple[Root, dict[str, str], str]:
    """Carry out every instruction. Returns the root of the last stage, its environment and its folder."""
    roots: dict[str, Root] = {}
    for number, stage in enumerate(stages):
        root = roots[stage.name or str(number)] = Root(folder / str(number))
        env, where = dict(BARE), "/"
        for instruction in stage.instructions:
            print(f"{stage.base}: {instruction.name} {instruction.text}", flush=True)
            text = instruction.text
            if instruction.name == "ARG":
                env[text] = arguments[text]
            elif instruction.name == "ENV":
                env |= {
                    name: value.replace("${KIND}", env.get("KIND", "")) for name, value in instruction.pairs.items()
                }
            elif instruction.name == "WORKDIR":
                where = text
                (root.changes / text.strip("/")).mkdir(parents=True, exist_ok=True)
            elif instruction.name == "COPY":
                copy(text, root, roots)
            elif instruction.name == "RUN":
                began = time.monotonic()
                subprocess.run(root.enter(f"cd {where}\n{text}", env=env), check=True)
                print(f"    {time.monotonic() - began:.1f} s", flush=True)
    return root, env, where


def copy(text: str, root: Root, roots: dict[str, Root]) -> None:
    words = text.split()
    source = roots[words.pop(0).removeprefix("--from=")].changes if words[0].startswith("--from=") else ROOT
    *names, target = words
    for name in names:
        found = source / name.strip("/")
        to = root.changes / target.strip("/")
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(found, to, symlinks=True, dirs_exist_ok=True, ignore=None if source != ROOT else ignored)
        else:
            to = to / found.name if target.endswith("/") else to
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, to)


def check_web(root: Root, stage: Stage, env: dict[str, str]) -> None:
    """Run the image's command, and ask its HEALTHCHECK until it is healthy."""
    env |= {"SECRET_KEY": "x" * 60, "PUBLIC_BASE_URL": "https://phone.example.com", "ENGINES_PROFILE": "laptop"}
    env |= {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "t", "TWILIO_PHONE_NUMBER": "+12025550100"}
    migrate = "python manage.py check --deploy --fail-level ERROR && exec python manage.py migrate --verbosity 0"
    subprocess.run(root.enter(f"cd /app && {migrate}", env=env, final=True), check=True)
    command, health = stage.last("CMD").command, stage.last("HEALTHCHECK").command
    script = f"cd /app\n{shlex.join(command)} &\nserver=$!\n"
    script += f"until {shlex.join(health)} 2>/dev/null; do kill -0 $server; sleep 1; done\n"
    script += "touch /app/x 2>/dev/null && { echo the root can be written; exit 1; }\n"
    script += "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; id -u\n"
    script += "kill -TERM $server; wait $server || true; echo healthy"
    done = subprocess.run(
        root.enter(f"set -e\n{script}", env=env, final=True), check=True, stdout=subprocess.PIPE, text=True, timeout=600
    )
    print(done.stdout)
    assert "healthy" in done.stdout
    assert "CapEff:\t0000000000000000" in done.stdout
    print("The web image answers its HEALTHCHECK, read-only, without capabilities, as user", USER)


def check_worker(root: Root, env: dict[str, str]) -> None:
    """Whether what the worker needs can be imported, and the command be found."""
    module = {"stt": "ctranslate2, faster_whisper", "tts": "torch, transformers"}[env["KIND"]]
    script = f"cd /app && python -c 'import {module}' && python manage.py runworker --help >/dev/null && echo imported"
    done = subprocess.run(root.enter(script, env=env, final=True), check=True, stdout=subprocess.PIPE, text=True)
    assert "imported" in done.stdout
    print("The image of the worker imports", module)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="a file of docker/")
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="build arguments")
    options = parser.parse_args()
    stages = read(ROOT / "docker" / options.file)
    arguments = dict(item.partition("=")[::2] for item in options.arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="image-", dir="/var/tmp") as folder:
        root, env, _ = build(stages, Path(folder), arguments)
        print(f"Built in {time.monotonic() - began:.0f} s.")
        if "KIND" in arguments:
            check_worker(root, env)
        else:
            check_web(root, stages[-1], env)


if __name__ == "__main__":
    main()
