"""Promises of a run that only a wrong figure would betray: best weights, seed, resume, minutes, saves, reports."""

import numpy as np
import pytest

from charlm import checkpoint, training
from charlm.config import TrainConfig
from charlm.directory import Directory
from charlm.engines import Tally
from charlm.errors import UsageError
from charlm.loading import load
from charlm.plan import defaults
from charlm.runs import open_run
from charlm.scoring import evaluate
from charlm.standing import Standing
from charlm.tasks import lm
from charlm.tasks.lm import LanguageLesson
from charlm.text.batches import TrainingBatches
from charlm.text.parts import Part
from charlm.training import fit
from tests.test_training import LINES, TINY, Clock, Notes, ScriptedEngine, lesson_of, part_of, train, write


def overshot(tmp_path):
    """Train at so high a rate that the best weights are not the last; return the run and both weights."""
    corpus, held_out = write(tmp_path / "c.txt", LINES), write(tmp_path / "v.txt", "acbd\nfkga\n" * 9)
    given = {"corpus": (corpus,), "valid_file": held_out, "test_fraction": 0.2, "steps": 40, "eval_every": 1}
    given |= TINY | {"lr": 0.1, "schedule": "constant"}
    with Directory(tmp_path / "m") as directory:
        run = open_run(directory, given)
        for progress in run.events():
            if progress.best:
                best = progress.step
                weights = run.model.trained.tensors()
    assert best == run.standing.best_step < run.standing.step == 40
    return run, weights, run.model.trained.tensors()


def test_the_model_that_is_kept_is_the_best_and_its_test_figure_too(tmp_path):
    run, best, last = overshot(tmp_path)
    kept, _ = checkpoint.load(tmp_path / "m" / "model.safetensors")
    assert any((best[name] != last[name]).any() for name in best)
    assert best.keys() == {name for name in kept if not name.startswith("counts.")}
    for name, value in best.items():
        np.testing.assert_array_equal(value, kept[name], err_msg=name)
    run.model.engine.weight = load(tmp_path / "m").counts_weight
    start, found = run.model.language.start, []
    for weights in (best, last):
        run.model.trained.load(weights)
        found.append(evaluate(run.model.engine, run.corpus.test, start, document=False).nats)
    assert found[0] != found[1]
    assert run.test.nats == found[0]


def test_the_seed_decides_the_order_of_the_text(tmp_path):
    corpus, first = write(tmp_path / "c.txt", LINES), {}
    for seed in (0, 1):
        run = train(tmp_path / f"m{seed}", {"corpus": (corpus,), "steps": 1, **TINY, "seed": seed})
        first[seed] = next(run.lesson.train.epoch(0)).targets
        start, lines = run.model.language.start, run.corpus.train.sequences
        expected = TrainingBatches(run.corpus.train, 4, 8, seed, start, lines, run.model.tokenizer.newline)
        np.testing.assert_array_equal(first[seed], next(expected.epoch(0)).targets)
    assert first[0].tolist() != first[1].tolist()


CHANGES = {
    "dropout": 0.4, "lr": 0.5, "seed": 3, "batch_size": 2, "seq_len": 4, "optimizer": "sgd", "clip": 9.0,
    "schedule": "constant", "weight_decay": 0.3, "valid_fraction": 0.2, "split_seed": 5, "sequences": "line",
    "tokenizer": "byte", "cell": "lstm", "log_every": 7, "save_every": 7, "eval_every": 7,
}  # fmt: skip


def test_what_decides_the_outcome_may_not_change_on_resume(tmp_path):
    given = {"corpus": (write(tmp_path / "c.txt", LINES),), "steps": 6, **TINY}
    train(tmp_path / "m", given, stop_at=2)
    before = (tmp_path / "m" / "resume.safetensors").read_bytes()
    for name, value in CHANGES.items():
        with pytest.raises(UsageError, match=f"keeps its settings.*: {name.replace('_', '-')} .* -> {value}"):
            train(tmp_path / "m", {name: value}, resume=True)
    assert (tmp_path / "m" / "resume.safetensors").read_bytes() == before


def timed(monkeypatch, seconds=0.1, standing=None, test_tokens=0, **settings):
    """Run `fit` by a clock that only updates move on; return the events, the keeper and the seconds that passed."""
    clock, engine, keeper = Clock(), ScriptedEngine(()), Notes()

    def update(batch, hidden, lr):
        clock.now += seconds
        return ScriptedEngine.update(engine, batch, hidden, lr)

    monkeypatch.setattr(engine, "update", update, raising=False)
    monkeypatch.setattr(training, "time", clock)
    lesson = lesson_of(part_of([2, 3] * 2000), Part.from_ids([]), batch=2, steps=4)
    lesson = LanguageLesson(lesson.train, lesson.valid, lesson.context, lesson.document, test_tokens)
    begun = clock.now
    events = list(fit(engine, lesson, TrainConfig(**settings), keeper, standing))
    return events, keeper, clock.now - begun


def test_minutes_go_on_where_the_run_stopped(monkeypatch):
    _, _, whole = timed(monkeypatch, minutes=1.0)
    _, _, rest = timed(monkeypatch, minutes=1.0, standing=Standing(step=5, seconds=40.0, tokens=40))
    assert 58 < whole <= 60
    assert 18 < rest <= 20
    events, _, _ = timed(monkeypatch, minutes=1.0, standing=Standing(step=5, seconds=40.0, tokens=40))
    assert events[0].fraction > 0.66
    assert events[-1].seconds == pytest.approx(60, abs=2)


def test_a_run_is_saved_each_minute_and_at_its_end(monkeypatch):
    _, keeper, _ = timed(monkeypatch, steps=2000)  # 200 seconds
    steps = [state.step for state in keeper.states]
    assert steps[-1] == 2000
    assert steps[:-1] == pytest.approx([600, 1200, 1800], abs=5)
    _, keeper, _ = timed(monkeypatch, steps=2000, save_every=500)
    assert [state.step for state in keeper.states] == [500, 1000, 1500, 2000]


def test_minutes_leave_time_for_the_test_part(monkeypatch):
    """A step of 8 tokens takes 0.1 s; a token of the test part 0.35 of what it costs in training: 20 s for these."""
    _, _, without = timed(monkeypatch, minutes=1.0)
    tokens = int(20 / (0.35 * 0.1 / 8))
    _, _, seconds = timed(monkeypatch, minutes=1.0, test_tokens=tokens)
    assert without - seconds == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize(("every", "steps"), [(None, range(1, 11)), (3, [3, 6, 9, 10]), (20, [10])])
def test_the_log_has_a_line_where_it_was_asked_for(monkeypatch, every, steps):
    _, keeper, _ = timed(monkeypatch, steps=10, log_every=every)
    assert [entry["step"] for entry in keeper.entries] == list(steps)
    assert all(entry["train_nats"] == pytest.approx(2.0) for entry in keeper.entries)


def test_the_learning_rate_falls_with_the_width():
    rates = {hidden: defaults(10**6, 65, {"hidden": hidden})[0]["lr"] for hidden in (64, 384, 768, 1536)}
    assert rates == {64: 0.005, 384: 0.005, 768: 0.0025, 1536: 0.00125}


# --- nothing known ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"patience": 2}, {"schedule": "plateau"}], ids=str)
@pytest.mark.parametrize("known", [False, True], ids=["not judging", "only unknown tokens"])
def test_where_validation_knows_nothing_it_does_not_judge(monkeypatch, settings, known):
    """Neither best weights nor patience nor plateaus follow from it, and the last weights are kept."""
    def tally(nats, unknown):
        return Tally(nats, 12, 12, {"unknown_nats": 5.0, "unknown": unknown})

    losses = iter([tally(9.0, 6 if known else 12) for _ in range(99)])
    if known:
        losses = iter([tally(9.0 + k, 6) for k in range(99)])
    engine, keeper = ScriptedEngine(()), Notes()
    monkeypatch.setattr(lm, "evaluate", lambda *_: next(losses))
    lesson = lesson_of(part_of([2, 3] * 200), part_of([2, 3] * 6), batch=2, steps=4)
    lesson = LanguageLesson(lesson.train, lesson.valid, lesson.context, lesson.document, judging=not known)
    config = TrainConfig(**{"steps": 20, "eval_every": 2, "lr": 1.0, "schedule": "constant"} | settings)
    events = list(fit(engine, lesson, config, keeper))
    assert events[-1].step == 20
    assert keeper.models[-1] == 20
    assert not any(event.best for event in events)
    assert set(engine.rates) == {1.0}
    assert keeper.entries[-1]["valid_unknown"] == (6 if known else 12)
