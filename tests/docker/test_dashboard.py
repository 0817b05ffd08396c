"""
Every query of the Grafana dashboard, asked of a real Prometheus that scrapes real processes with a call.

Grafana itself does not run here: the file is checked for what Grafana needs of it.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import combinations
from pathlib import Path

import aiohttp
import pytest
import yaml

from media.phone.caller import HangUp, ScriptedCaller, WaitForAgent
from media.phone.network import PhoneNetwork
from tests.calls.installation import ACCOUNT_SID, AUTH_TOKEN, WORKER
from tests.inference.remote.processes import POD
from tests.media.whole_calls import ask
from tests.metric_values import our_metrics
from tests.real_services import migrate, process, process_env, reserve_port
from tests.test_metrics import MOST_SERIES

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "docker" / "grafana" / "dashboards" / "clientcaller.json").read_text(encoding="utf-8"))
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
}
WITH_A_GPU = "clientcaller_voice_clauses_total"
"""The metric of the voice that needs a GPU. Its query has no series here."""


def test_the_dashboard_is_what_grafana_imports():
    assert {"uid", "title", "panels", "templating", "time", "refresh"} <= DASHBOARD.keys()
    assert DASHBOARD["schemaVersion"] == 39  # of Grafana 11, which later ones migrate
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in ("row", "timeseries", "stat", "heatmap", "alertlist")
        references = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(references)) == len(references)
        if references:
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_no_panel_covers_another_one():
    places = [panel["gridPos"] | {"title": panel["title"]} for panel in DASHBOARD["panels"]]
    covered = [
        (one["title"], other["title"])
        for one, other in combinations(places, 2)
        if one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    ]
    assert covered == []
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_grafana_finds_the_source_and_the_dashboard():
    provisioning = ROOT / "docker" / "grafana" / "provisioning"
    sources, dashboards = (
        yaml.safe_load((provisioning / name).read_text(encoding="utf-8"))
        for name in ("datasources/prometheus.yml", "dashboards/clientcaller.yml")
    )
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    assert [provider["type"] for provider in dashboards["providers"]] == ["file"]


def test_every_metric_is_on_the_dashboard():
    shown = set(re.findall(r"\b(clientcaller_\w+?)(?:_bucket|_count|_sum)?\b(?=[^\w]|$)", "\n".join(QUERIES.values())))
    metrics = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in our_metrics()}
    assert metrics - shown == set()
    assert shown - metrics == set()


@asynccontextmanager
async def watched(folder: Path, redis_url: str) -> AsyncIterator[tuple[str, PhoneNetwork]]:
    """A web process, a Celery worker and an engine worker, and the Prometheus that scrapes them. Its URL."""
    ports = {role: reserve_port() for role in ("web", "celery", "worker")}
    port, prometheus = reserve_port(), reserve_port()
    engines = {"STT_ENGINE": "remote", "TTS_ENGINE": "remote,scripted", "ENGINES_PROFILE": "scripted"}
    async with AsyncExitStack() as stack:
        network = PhoneNetwork(app_url=f"http://127.0.0.1:{port}", account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN)
        await stack.enter_async_context(network)
        common = {"PUBLIC_BASE_URL": f"http://127.0.0.1:{port}", "TWILIO_API_BASE_URL": network.rest_url}

        def env(role: str, **more: str) -> dict[str, str]:
            return process_env(folder, redis_url=redis_url, METRICS_PORT=str(ports[role]), **common, **more)

        await asyncio.to_thread(migrate, env("web"))
        for role, command, more in (
            ("worker", "manage.py runworker stt tts", {"ENGINES_PROFILE": "scripted", **POD}),
            ("celery", WORKER, {"ENGINES_PROFILE": "scripted"}),
            ("web", f"-m clientcaller.web.server --port {port}", engines),
        ):
            started = stack.enter_context(process(sys.executable, *command.split(), env=env(role, **more)))
            if role == "web":
                await asyncio.to_thread(started.wait_for, "Uvicorn running")
        configuration = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "docker" / "prometheus" / "alerts.yml")],
            "scrape_configs": [
                {"job_name": f"clientcaller-{role}", "static_configs": [{"targets": [f"127.0.0.1:{number}"]}]}
                for role, number in ports.items()
            ],
        }
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        arguments = (
            f"--config.file={file}", f"--storage.tsdb.path={folder / 'series'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        )  # fmt: skip
        started = stack.enter_context(process("prometheus", *arguments, env={}))
        await asyncio.to_thread(started.wait_for, "Server is ready to receive web requests")
        yield f"http://127.0.0.1:{prometheus}", network


async def ask_prometheus(http: aiohttp.ClientSession, path: str, **parameters: str) -> dict:
    async with http.get(f"/api/v1/{path}", params=parameters) as answer:
        document = await answer.json()
    assert document["status"] == "success", (parameters, document)
    return document["data"]


async def until_it_answers(http: aiohttp.ClientSession, query: str) -> None:
    """Wait until a query has a result."""
    async with asyncio.timeout(60):
        while not (await ask_prometheus(http, "query", query=query))["result"]:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.2)


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed (Debian's prometheus)")
async def test_every_query_of_the_dashboard_has_series_while_there_are_calls(tmp_path, redis_server):
    async with watched(tmp_path, redis_server.url) as (url, network), aiohttp.ClientSession(url) as http:
        caller = ScriptedCaller([WaitForAgent(), ask(), WaitForAgent(), HangUp()])
        call = await network.call_in(caller, from_number="+12025550123", to_number="+15005550006")
        await until_it_answers(http, "sum(clientcaller_streams) == 1")
        await call.wait()
        await until_it_answers(http, "sum(rate(clientcaller_response_latency_seconds_count[30s])) > 0")
        await until_it_answers(http, 'clientcaller_heartbeat_timestamp_seconds{role="beat"} > 0')
        empty = []
        for name, query in QUERIES.items():
            data = await ask_prometheus(http, "query", query=query.replace("$__rate_interval", "30s"))
            if not data["result"] and WITH_A_GPU not in query:
                empty.append((name, query))
        assert empty == []
        every = (await ask_prometheus(http, "query", query='{__name__=~"clientcaller_.+"}'))["result"]
        of_a_call = re.compile(r"\d{6}|\d{4}-")
        labels = [text for series in every for name, text in series["metric"].items() if name != "instance"]
        assert [text for text in labels if of_a_call.search(text)] == []
        assert len(every) < 3 * MOST_SERIES
        rules = (await ask_prometheus(http, "rules"))["groups"]
        assert {rule["health"] for group in rules for rule in group["rules"]} == {"ok"}
        firing = (await ask_prometheus(http, "query", query='ALERTS{alertstate="firing"}'))["result"]
        assert firing == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian's prometheus)")
def test_promtool_parses_every_query(tmp_path):
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "30s")}
        for number, query in enumerate(QUERIES.values())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
