"""For all tests: recordings of people, real models, a database of each process, temporary folders in place of var/."""

import gc
import os
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import settings as project_settings
from django.db import connections

from tests.thorough import THOROUGH

pytest_plugins = ["tests.real_services"]

OPTIONAL = {
    "human": ("--speech", "*.wav", "recordings of people"),
    "weights": ("--models", "*/model.bin", "models with real weights"),
    "turn_weights": ("--models", "smart-turn/*.onnx", "the turn model Smart Turn, in smart-turn/*.onnx"),
}
"""For each marker of tests that need a folder: its option, what the folder must have, and what that is."""
MAY_LACK = ("turn_weights",)
"""The markers whose tests are left out, with a line that says so, if the folder is given and has not what they need."""
_left_out = pytest.StashKey[dict[str, int]]()
"""The number of tests that were left out, by their marker."""

# Neither the time of one example nor the pace at which examples are made may depend on what else the machine does.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        # The workers share the cores already: PyTorch's threads on top of them would only wait for each other.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """
    The number of ``-n auto``. Calls in real time mostly wait, so there are more workers than cores. There are not many
    more, because each collects all tests first, which takes more than ten seconds of processor time. The tests on
    PostgreSQL compute and rarely wait.
    """
    cores = os.cpu_count() or 1
    return cores if config.getoption("database") == "postgres" else min(cores * 5 // 2, 12)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """
    Collect the tests without the garbage collector. It takes a third of that time and finds nothing, because modules
    and tests live as long as the process. They are frozen, so that it does not search them during the tests either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--speech", metavar="DIR", type=Path, help="folder with the recordings of people (*.wav)")
    parser.addoption("--models", metavar="DIR", type=Path, help="folder with real models, each in a folder (tiny.en)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests whose folder is not given. The summary then has one line for all of a kind."""
    left_out = config.stash.setdefault(_left_out, {})
    for marker, (option, pattern, _) in OPTIONAL.items():
        folder = config.getoption(option)
        if folder is not None and any(folder.glob(pattern)):
            continue
        if folder is not None and marker not in MAY_LACK:
            raise pytest.UsageError(f"{option} {folder}: the folder has no {pattern}")
        without = [item for item in items if item.get_closest_marker(marker)]
        if without:
            config.hook.pytest_deselected(items=without)
            items[:] = [item for item in items if not item.get_closest_marker(marker)]
        left_out[marker] = len(without)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Under pytest-xdist each worker collects the same tests, and this process reports what they left out."""
    node.config.stash[_left_out] = getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for marker, count in config.stash.get(_left_out, {}).items():
        if count:
            option, _, what = OPTIONAL[marker]
            line = f"LEFT OUT: {count} tests on {what}. To run them, give their folder: {option} DIR"
            terminalreporter.write_line(line, red=True, bold=True)
    samples = "the larger ones (THOROUGH=1)" if THOROUGH else "the usual ones; THOROUGH=1 takes larger ones"
    terminalreporter.write_line(f"Samples: {samples}.")


@pytest.fixture
def speech_dir(request: pytest.FixtureRequest) -> Path:
    """The folder with the recordings of people. A test that uses it is marked ``human``."""
    if request.node.get_closest_marker("human") is None:
        pytest.fail("A test that uses speech_dir must be marked @pytest.mark.human.")
    return request.config.getoption("speech").resolve()


@pytest.fixture(scope="session")
def models_dir(request: pytest.FixtureRequest) -> Path:
    """The folder with the real models. A test that uses it is marked ``weights``."""
    folder = request.config.getoption("models")
    if folder is None:
        pytest.fail("A test that uses models_dir must be marked @pytest.mark.weights.")
    return folder.resolve()


@pytest.fixture(scope="session")
def smart_turn(request: pytest.FixtureRequest) -> Path:
    """The file of Smart Turn. A test that uses it is marked ``turn_weights``."""
    folder = request.config.getoption("models")
    if folder is None:
        pytest.fail("A test that uses smart_turn must be marked @pytest.mark.turn_weights.")
    return sorted(folder.resolve().glob("smart-turn/*.onnx"))[-1]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SQLite in a file instead of shared memory, so that threads wait for the same locks as in production."""
    database = connections["default"].settings_dict
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
        # In production a writer gives up after 5 s. On a busy machine a test may hold the lock for longer.
        database["OPTIONS"] = {**database["OPTIONS"], "timeout": 60}


@pytest.fixture(scope="session", autouse=True)
def _broker_in_memory() -> None:
    """Celery's messages of the tests stay in memory, so that no worker on this machine runs them."""
    from celery import current_app

    current_app.conf.broker_url = "memory://"


@pytest.fixture(scope="session")
def _var_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in place of var/. All tests of this process have the same one, because new settings take time."""
    from django.test import override_settings

    folder = tmp_path_factory.mktemp("var") / "now"
    with override_settings(MEDIA_ROOT=folder / "media", SPOOL_DIR=folder / "spool"):
        project_settings.SPOOL_DIR.mkdir(parents=True)
        yield folder


@pytest.fixture(autouse=True)
def _empty_var_dir(_var_dir: Path) -> Iterator[None]:
    """What a test leaves in place of var/ is moved beside it, so that the next one finds nothing."""
    yield
    spool, media = _var_dir / "spool", _var_dir / "media"
    if media.exists() or not spool.exists() or any(spool.iterdir()):
        _var_dir.rename(_var_dir.with_name(secrets.token_hex(8)))
        spool.mkdir(parents=True)
