"""Several ranks under torchrun: the run of one rank, taken up on another number, and what a lost rank leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charlm.loading import load

pytest.importorskip("torch", reason="PyTorch is not installed")

LINES = "the cat sat on the mat\nthe dog ate the hat\na man\n" * 80  # with resets inside every chunk
SHAPE = [
    "--hidden", "16", "--embedding", "8", "--batch-size", "4", "--seq-len", "16", "--dropout", "0", "--lr", "0.02",
    "--schedule", "constant", "--clip", "0.3", "--log-every", "1", "--eval-every", "10", "--threads", "1",
]  # fmt: skip


def train(path, *more, ranks=0, engine="torch", wait=True, restarts=0):
    """Start `charlm train` on so many ranks (0: without torchrun), and return the process, its stderr in `told`."""
    (path / "corpus.txt").write_text(LINES)
    charlm = ["-m", "charlm", "train", str(path / "corpus.txt"), "-m", str(path / "model"), "--engine", engine, *more]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}",
                f"--max-restarts={restarts}", *charlm]  # fmt: skip
    with open(path / "stderr", "w") as told:
        process = subprocess.Popen(
            [sys.executable, *(torchrun if ranks else charlm)], stderr=told, stdout=told,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    if wait:
        process.wait(timeout=300)
    return process


def told(path):
    return (path / "stderr").read_text()


def entries(path):
    return [json.loads(line) for line in (path / "model" / "log.jsonl").read_text().splitlines()]


def figures(path):
    """Return what every step's line says of it, the tokens read included."""
    names = ("tokens", "train_nats", "grad_norm")
    return [entry[name] for entry in entries(path) for name in names]


def judged(path):
    """Return the last validation's figures, and the n-grams of the model beside the network's
    weights.
    """
    entry, model = entries(path)[-1], load(path / "model", threads=1)
    names = ("valid_nats", "valid_nats_network", "valid_nats_counts", "counts_weight")
    return [entry[name] for name in names], model.counts.tensors()


def until(condition, process):
    """Wait until something is so, or fail where the process has ended before or minutes have passed."""
    for _ in range(3000):
        if condition():
            return
        assert process.poll() is None
        time.sleep(0.1)
    pytest.fail("waited in vain")


def process_of_rank(torchrun, rank):
    """Return the id of the process that torchrun started as a rank."""
    for child in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split():
        if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            return int(child)
    raise AssertionError(f"no rank {rank}")


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    """Return the figures of ten steps on one rank without torchrun, and what is judged at their
    end.
    """
    path = tmp_path_factory.mktemp("one")
    assert train(path, *SHAPE, "--steps", "10").returncode == 0, told(path)
    return figures(path), *judged(path)


def test_two_ranks_take_the_steps_of_one(one_rank, tmp_path):
    """Losses and norms to 1e-6, clipped by the norm of the whole gradient; then one rank goes on
    from there.

    Rank 0 alone counts the text's n-grams, and validates their blend with the network.
    """
    one_rank, judged_by_one, counts = one_rank
    assert train(tmp_path, *SHAPE, "--steps", "5", ranks=2).returncode == 0, told(tmp_path)
    assert "threads (PyTorch" in told(tmp_path)
    assert "), 2 ranks" in told(tmp_path)
    assert figures(tmp_path) == pytest.approx(one_rank[:15], rel=1e-6)
    assert max(one_rank[2::3]) > 0.3
    assert min(one_rank[::3]) > 0
    blend, network, of_counts, weight = judged(tmp_path)[0]
    assert blend <= min(network, of_counts)
    assert 0 < weight <= 1
    assert train(tmp_path, "--resume", "--steps", "10").returncode == 0, told(tmp_path)
    assert "warning: 2 -> 1 ranks" in told(tmp_path)
    assert figures(tmp_path) == pytest.approx(one_rank, rel=1e-6)
    found, again = judged(tmp_path)
    assert found == pytest.approx(judged_by_one, rel=1e-6)
    assert all((again[name] == counts[name]).all() for name in counts)


def test_four_ranks_go_on_from_one(one_rank, tmp_path):
    """With dropout off the number of ranks changes nothing but rounding; all files are those of one run."""
    assert train(tmp_path, *SHAPE, "--steps", "5").returncode == 0, told(tmp_path)
    assert train(tmp_path, "--resume", "--steps", "10", ranks=4).returncode == 0, told(tmp_path)
    assert "warning: 1 -> 4 ranks" in told(tmp_path)
    assert figures(tmp_path) == pytest.approx(one_rank[0], rel=1e-6)
    assert judged(tmp_path)[0] == pytest.approx(one_rank[1], rel=1e-6)


@pytest.mark.parametrize(
    ("more", "engine", "message"),
    [
        (["--batch-size", "5"], "torch", "charlm: 5 columns cannot be shared out evenly to 2 ranks"),
        ([], "numpy", "charlm: 2 ranks need --engine torch: numpy computes on one"),
    ],
    ids=["columns", "engine"],
)
def test_what_ranks_cannot_do_is_refused(more, engine, message, tmp_path):
    assert train(tmp_path, *SHAPE, "--steps", "5", *more, ranks=2, engine=engine).returncode == 1
    assert message in told(tmp_path)
    assert not (tmp_path / "model").exists()


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="finds processes through /proc")
def test_a_lost_rank_ends_the_run_and_a_restart_goes_on(tmp_path):
    """Rank 1 is killed: rank 0 says so, what it saved is kept. With restarts torchrun begins again from there."""
    state = tmp_path / "model" / "resume.safetensors"
    process = train(tmp_path, *SHAPE, "--steps", "100000", "--save-every", "5", ranks=2, wait=False)
    until(state.exists, process)
    os.kill(process_of_rank(process, 1), signal.SIGKILL)
    assert process.wait(timeout=120) == 1
    assert "charlm: another rank was lost; the state saved last is kept: go on with --resume" in told(tmp_path)

    saved = len(entries(tmp_path))
    arguments = ["--resume", "--steps", "100000"]
    process = train(tmp_path, *arguments, ranks=2, wait=False, restarts=1)
    until(lambda: told(tmp_path).count("going on from step") == 1, process)
    until(lambda: len(entries(tmp_path)) > saved + 20, process)
    os.kill(process_of_rank(process, 1), signal.SIGKILL)
    until(lambda: told(tmp_path).count("going on from step") == 2, process)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=120)
    steps = [entry["step"] for entry in entries(tmp_path)]
    assert steps == list(range(1, len(steps) + 1))  # no step is missing, none told twice


def test_a_signal_saves_before_the_end(tmp_path):
    process = train(tmp_path, *SHAPE, "--steps", "100000", ranks=2, wait=False)
    until(lambda: (tmp_path / "model" / "log.jsonl").exists() and len(entries(tmp_path)) > 3, process)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=120)
    assert "interrupted at step" in told(tmp_path)
    last = entries(tmp_path)[-1]["step"]
    assert train(tmp_path, "--resume", "--steps", str(last + 2)).returncode == 0, told(tmp_path)
    assert f"going on from step {last:,}" in told(tmp_path)
