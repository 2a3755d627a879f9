"""How many threads charlm takes: affinity, quotas of control groups (drawn up in a directory), OMP_NUM_THREADS."""

import math
import os

import pytest
from click.testing import CliRunner

from charlm import processors
from charlm.cli import main
from charlm.loading import load
from charlm.processors import available_threads, cpu_quota, omp_num_threads
from tests.tiny import tiny_model

V1 = "12:memory:/job\n5:cpu,cpuacct:{}\n1:name=systemd:/job\n"


def drawn_up(tmp_path, cgroup, files):
    """Write /proc/self/cgroup and the files of the groups; return the quota that is found."""
    (tmp_path / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cpu_quota(tmp_path / "cgroup", tmp_path / "mount")


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/job/step\n", {"job/step/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/job/step\n", {"job/cpu.max": "200000 100000\n", "job/step/cpu.max": "max 100000\n"}, 2),
        ("0::/job/step\n", {"job/cpu.max": "50000 100000\n", "job/step/cpu.max": "400000 100000\n"}, 0.5),
        ("0::/\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/../outside\n", {"cpu.max": "300000 100000\n", "outside/cpu.max": "1000 100000"}, 3),
        ("0::/docker/abc\n", {"cpu.max": "70000 35000\n"}, 2),
        ("0::/other\n", {"job/cpu.max": "100000 100000\n"}, math.inf),
        ("0::/job:odd\n", {"job:odd/cpu.max": "100000 100000\n"}, 1),
        ("0::/job\n", {"job/cpu.max": "max 100000\n"}, math.inf),
        ("0::/job\n", {"job/cpu.max": "nonsense\n"}, math.inf),
        ("0::/job\n", {"job/cpu.max": "100000 0\n"}, math.inf),
        ("no such line\n", {"cpu.max": "100000 100000"}, math.inf),
        ("", {"cpu.max": "100000 100000"}, math.inf),
        (V1.format("/job"), {"cpu/job/cpu.cfs_quota_us": "250000", "cpu/job/cpu.cfs_period_us": "100000"}, 2.5),
        (V1.format("/a/b"), {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "50000",
                             "cpu/a/b/cpu.cfs_quota_us": "-1", "cpu/a/b/cpu.cfs_period_us": "50000"}, 2),
        (V1.format("/gone"), {"cpu,cpuacct/cpu.cfs_quota_us": "9000", "cpu,cpuacct/cpu.cfs_period_us": "9000"}, 1),
        (V1.format("/a"), {"memory/job/cpu.max": "100000 100000"}, math.inf),
        ("1:cpu:/a\n0::/b\n", {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000",
                               "unified/b/cpu.max": "200000 100000"}, 2),
    ],
    ids=["own", "parent", "least", "root", "outside", "container", "another's", "colon", "max", "nonsense",
         "no period", "odd line", "no line", "v1", "v1 parent", "v1 container", "v1 memory", "both"],
)  # fmt: skip
def test_the_least_quota_counts(cgroup, files, expected, tmp_path):
    assert drawn_up(tmp_path, cgroup, files) == expected


def test_no_control_groups_no_quota(tmp_path):
    assert cpu_quota(tmp_path / "none", tmp_path / "neither") == math.inf
    assert cpu_quota(tmp_path, tmp_path) == math.inf  # a directory in place of the file


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3), ("4,2", 4), (" 2 ", 2), ("2 , 1", 2), ("+2", 2), ("", None), ("0", None), ("-1", None), ("two", None),
     ("1.5", None), (",3", None), ("9" * 50, None), ("²", None)],
)  # fmt: skip
def test_the_first_number_of_omp_num_threads(value, expected):
    assert omp_num_threads(value) == expected


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets this machine's processors, quota and OMP_NUM_THREADS."""

    def given(processors_here, quota=math.inf, omp=None):
        monkeypatch.setattr(processors, "affinity", lambda: processors_here)
        monkeypatch.setattr(processors, "cpu_quota", lambda: quota)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if omp is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", omp)

    return given


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((8,), 8),
        ((8, 1.5), 2),
        ((8, 0.1), 1),
        ((2, 16.0), 2),
        ((8, math.inf, "3"), 3),
        ((8, math.inf, "64"), 8),
        ((8, math.inf, "nonsense"), 8),
        ((8, math.inf, "0"), 8),
        ((8, 2.0, "4,2"), 2),
        ((8, 6.0, "4,2"), 4),
    ],
)
def test_the_least_limit_counts(machine, limits, expected):
    machine(*limits)
    assert available_threads() == expected


def test_processes_of_one_run_divide_the_processors(machine):
    machine(8)
    assert available_threads(2) == 4
    machine(1)
    assert available_threads(2) == 1
    machine(8, omp="3")
    assert available_threads(2) == 3
    machine(8, omp="1")  # as torchrun sets it, unasked
    assert available_threads(2) == 4


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_affinity_is_a_limit():
    assert processors.affinity() == len(os.sched_getaffinity(0))


def test_a_loaded_model_takes_so_many_unless_told(machine, tmp_path):
    tiny_model().save(tmp_path / "m.safetensors")
    machine(8, 2.5)
    assert load(tmp_path / "m.safetensors").engine.description.startswith("3 threads")
    assert load(tmp_path / "m.safetensors", threads=5).engine.description.startswith("5 threads")


def test_training_takes_so_many_unless_told(machine, tmp_path):
    (tmp_path / "corpus.txt").write_text("some text\n" * 50)
    machine(8, 4.0, "3")
    for given, expected in (([], "3 threads"), (["--threads", "2"], "2 threads")):
        arguments = [f"{tmp_path}/corpus.txt", "-m", f"{tmp_path}/{expected}", "--steps", "1", "--hidden", "4", *given]
        assert expected in CliRunner().invoke(main, ["train", *arguments]).stderr
