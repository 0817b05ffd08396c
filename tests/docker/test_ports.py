"""Processes that may run on one machine have different ports, and the files and pages agree on them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from clientcaller.profiles import engine_profiles
from tests.real_services import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = [
    ROOT / "Makefile",
    *sorted(path for path in (ROOT / "docker").rglob("*") if path.is_file() and "lock" not in path.parts),
]
VLLM = "8100"
SIMULATED_NETWORK = "8010"


def found(pattern: str, *paths: Path) -> set[str]:
    """What the first group of the pattern matches in these files."""
    return {match for path in paths for match in re.findall(pattern, path.read_text())}


def web_ports() -> set[str]:
    """The ports of the web processes, as Caddy and the pages know them."""
    return found(r"127\.0\.0\.1:(80\d\d)\b", ROOT / "docker" / "Caddyfile")


def metrics_ports() -> set[str]:
    return found(r'"127\.0\.0\.1:(\d+)"', ROOT / "docker" / "prometheus" / "prometheus.yml")


def test_a_second_web_process_of_the_pages_has_the_port_that_caddy_knows():
    assert web_ports() == {"8000", "8001"}
    assert found(r"(?<!METRICS_)\bPORT=(\d+)", *PAGES) <= web_ports()


def test_metrics_have_ports_of_their_own():
    assert found(r"METRICS_PORT=(\d+)", *PAGES, *FILES) <= metrics_ports()
    assert not metrics_ports() & {*web_ports(), VLLM, SIMULATED_NETWORK}


def test_servers_of_engines_have_ports_that_no_other_process_has():
    servers = found(r"_BASE_URL[=:] ?http://[\w.-]+:(\d+)", *PAGES, *FILES)
    assert VLLM in servers
    assert not servers & {*web_ports(), *metrics_ports(), SIMULATED_NETWORK}


def test_vllm_has_one_port():
    printed = subprocess.check_output([ROOT / "docker" / "vllm" / "serve", "--print", "80"], text=True)
    assert re.findall(r"--port (\d+)", printed) == [VLLM]
    assert engine_profiles("").settings["gpu"]["llm"]["OPTIONS"]["base_url"] == f"http://127.0.0.1:{VLLM}/v1"
    image = ROOT / "docker" / "llm.Dockerfile"
    assert found(r"EXPOSE (\d+)", image) | found(r"127\.0\.0\.1:(\d+)/health", image) == {VLLM}
    assert found(r"OPENAI_BASE_URL[=:] ?http://llm:(\d+)", *PAGES, *FILES) == {VLLM}
    units = sorted((ROOT / "docker" / "systemd").glob("*llm*"))
    assert found(r"OPENAI_BASE_URL=http://127\.0\.0\.1:(\d+)", *units) == {VLLM}
    assert found(r"--port (\d+)", *units) <= {VLLM}
    assert found(r"LLM_SERVER=vllm\nOPENAI_BASE_URL=http://127\.0\.0\.1:(\d+)", *PAGES) == {VLLM}
    assert found(r"vllm serve [^`\n]*--port (\d+)", *PAGES) == {VLLM}
