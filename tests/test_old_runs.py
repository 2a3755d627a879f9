"""A run that an earlier charlm began and stopped midway goes on, and ends where it would have ended.

`golden/run` was made before there were other networks than language models: two LSTM layers with
dropout, normalised, stopped at step 20 of 40. `whole.safetensors` is the state that the same run
ended with when nobody stopped it.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from charlm import checkpoint
from charlm.directory import Directory
from charlm.loading import load
from charlm.model_files import parse
from charlm.nn.optim import learning_rate
from charlm.runs import open_run

GOLDEN = Path(__file__).parent / "golden" / "run"
STEPS = 40


@pytest.fixture
def stopped(tmp_path):
    """The directory of the stopped run, where it may be changed."""
    for name in ("config.toml", "log.jsonl", "model.safetensors", "resume.safetensors"):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copyfile(GOLDEN / name, tmp_path / "run" / name)
    return tmp_path / "run"


def opened(directory):
    return open_run(directory, {"corpus": (str(GOLDEN / "corpus.txt"),)}, resume=True)


def test_it_ends_as_it_would_have_ended(stopped):
    with Directory(stopped) as directory:
        run = opened(directory)
        assert run.standing.step == 20
        events = list(run.events())
    assert events[-1].step == STEPS
    assert events[-1].last
    found, _ = checkpoint.load(stopped / "resume.safetensors")
    expected, metadata = checkpoint.load(GOLDEN / "whole.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)
    best = parse(metadata, "charlm.resume")["state"]["best"]
    assert run.standing.best == pytest.approx(best, abs=1e-6)
    entries = [json.loads(line) for line in (stopped / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == list(range(5, STEPS + 1, 5))
    assert load(stopped).facts["test_nats"] > 0


def test_it_goes_on_to_the_bit(stopped):
    """The steps that `fit` takes are those that one takes by hand from the same state."""
    with Directory(stopped) as directory:
        run = opened(directory)
        engine, lesson, train = run.model.trained, run.lesson, run.settings.train
        hidden, standing = run._hidden, run.standing
        step, epoch, chunk = standing.step, standing.epoch, standing.chunk
        while step < STEPS:
            for batch in lesson.train.epoch(epoch, chunk):
                lr = learning_rate(train, step, step / STEPS, 0.0, 0)
                _, _, hidden = engine.update(batch, hidden, lr)
                step += 1
                if step == STEPS:
                    break
            epoch, chunk = epoch + 1, 0
        expected, _ = engine.snapshot(hidden)
    with Directory(stopped) as directory:
        run = opened(directory)
        for _ in run.events():
            pass
    found, _ = checkpoint.load(stopped / "resume.safetensors")
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_its_model_is_written_again_as_the_same_bytes(tmp_path):
    model = load(GOLDEN / "model.safetensors")
    model.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (
        GOLDEN / "model.safetensors"
    ).read_bytes()
