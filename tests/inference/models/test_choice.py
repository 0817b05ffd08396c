"""The models that fit a machine, as a table that a person can check."""

import pytest

from inference.models.catalogue import CATALOGUE
from inference.models.choice import GB, Machine, choose, this_machine


@pytest.mark.parametrize(
    ("cores", "gigabytes", "stt", "llm"),
    [
        (1, 64, "tiny.en", "gemma3-270m-it"),
        (2, 3, "tiny.en", "gemma3-270m-it"),
        (3, 16, "tiny.en", "gemma3-270m-it"),
        (4, 5.9, "tiny.en", "gemma3-270m-it"),
        (4, 6, "tiny.en", "gemma3-1b-it"),
        (6, 3, "base.en", "gemma3-270m-it"),
        (8, 16, "base.en", "gemma3-1b-it"),
        (12, 11, "base.en", "gemma3-1b-it"),
        (12, 12, "base.en", "gemma3-4b-it"),
        (32, 128, "base.en", "gemma3-4b-it"),
    ],
)
def test_the_choice(cores, gigabytes, stt, llm):
    choice = choose(Machine(cores, int(gigabytes * GB)))
    assert (choice.stt, choice.llm, choice.tts) == (stt, llm, "piper-joe")


def test_all_that_may_be_chosen_is_in_the_catalogue_and_for_users():
    names = {name for cores in (1, 4, 12) for name in choose(Machine(cores, 64 * GB)).names}
    assert all(not CATALOGUE[name].for_tests for name in names)


@pytest.mark.parametrize(
    ("cores", "gigabytes", "fetched", "llm"),
    [
        (8, 16, {"gemma3-270m-it"}, "gemma3-270m-it"),  # nobody waits for a download that they did not ask for
        (8, 16, {"gemma3-270m-it", "gemma3-1b-it"}, "gemma3-1b-it"),
        (8, 3, {"gemma3-1b-it"}, "gemma3-1b-it"),  # it was chosen when more memory was free, and fits still
        (8, 1, {"gemma3-1b-it"}, "gemma3-270m-it"),
        (2, 16, {"gemma3-4b-it"}, "gemma3-270m-it"),  # it would be too slow
        (2, 16, {"gemma3-270m"}, "gemma3-270m-it"),  # it is for tests
        (8, 16, set(), "gemma3-1b-it"),
    ],
)
def test_what_is_there_is_preferred_if_it_fits(cores, gigabytes, fetched, llm):
    assert choose(Machine(cores, gigabytes * GB), fetched).llm == llm


def test_the_limits_of_a_container_count(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(f"{3 * GB}\n")
    (tmp_path / "memory.current").write_text(f"{GB}\n")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 64000000 kB\nMemAvailable: 50000000 kB\n")
    assert this_machine(cgroup=tmp_path, meminfo=meminfo) == Machine(1, 2 * GB)


def test_without_limits_the_free_memory_counts(tmp_path):
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemAvailable: 5000000 kB\n")
    machine = this_machine(cgroup=tmp_path, meminfo=meminfo)
    assert machine.memory_bytes == 5000000 * 1024
    assert machine.cores >= 1


def test_a_machine_without_such_files_is_looked_at_as_well(tmp_path):
    machine = this_machine(cgroup=tmp_path, meminfo=tmp_path / "none")
    assert machine.cores >= 1
    assert machine.memory_bytes > 0
