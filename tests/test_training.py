"""Training: what is learnt, against known entropies; when a run ends; and that a stopped run goes on to the bit."""

import dataclasses
import json
import math

import numpy as np
import pytest

from charlm import checkpoint, training
from charlm.config import NO_TOKEN, ModelConfig, TrainConfig
from charlm.directory import Directory
from charlm.engines import Tally
from charlm.engines.numpy import NumpyEngine
from charlm.errors import DataError, DivergedError, UsageError
from charlm.loading import load
from charlm.runs import open_run
from charlm.tasks import lm
from charlm.tasks.lm import LanguageLesson
from charlm.text.batches import Context, TrainingBatches
from charlm.text.parts import Part
from charlm.training import fit

LINES = "".join(f"{a}{b}{a}{c}\n" for a in "abcd" for b in "efgh" for c in "ijk") * 3
DOCUMENT = "\n".join(f"the {a} {b} {a}.\n" for a in ("cat", "dog") for b in ("saw", "met", "bit")) * 12
TINY = {"hidden": 8, "embedding": 4, "batch_size": 4, "seq_len": 8, "lr": 0.01, "threads": 2}


class Notes:
    """A keeper that remembers what it was asked to keep."""

    def __init__(self):
        self.models, self.states, self.entries = [], [], []

    def save_model(self, progress):
        self.models.append(progress.step)

    def save_resume(self, state, hidden):
        self.states.append(dataclasses.replace(state))

    def log(self, progress):
        self.entries.append(progress.log_entry())

    def example(self, step):
        return f"written at step {step}"


def part_of(ids):
    return Part.from_ids([*ids, 0])


def lesson_of(train, valid, batch=8, steps=16, seed=0):
    return LanguageLesson(TrainingBatches(train, batch, steps, seed, Context(), None, None), valid, Context(), True)


def trained(ids, valid, vocabulary, **settings):
    config = TrainConfig(**({"batch_size": 8, "seq_len": 16, "lr": 0.01} | settings))
    engine = NumpyEngine(ModelConfig(vocabulary, hidden=16, embedding=8), 1, config)
    keeper = Notes()
    events = list(fit(engine, lesson_of(part_of(ids), part_of(valid)), config, keeper))
    return events, keeper, engine


def test_a_cycle_is_learnt_until_nothing_surprises():
    cycle = [2, 3, 3, 4] * 200
    events, _, _ = trained(cycle, cycle[:200], 5, steps=300)
    assert events[-1].valid.mean < 0.02  # the first token of all stays uncertain for a while


def test_a_memoryless_source_is_learnt_to_its_entropy():
    """Validation cannot beat the entropy of the source, and comes within 2 % of it."""
    odds = np.array([0.5, 0.25, 0.15, 0.1])
    entropy = -float((odds * np.log(odds)).sum())
    draws = np.random.default_rng(0).choice(4, 24_000, p=odds) + 2
    valid = draws[20_000:].tolist()
    empirical = -float(np.mean(np.log(odds[np.array(valid) - 2])))  # what the true odds give on these tokens
    events, _, _ = trained(draws[:20_000].tolist(), valid, 6, steps=400, batch_size=32)
    assert empirical - 0.002 < events[-1].valid.mean < 1.02 * empirical
    assert entropy == pytest.approx(empirical, rel=0.03)


class ScriptedEngine:
    """Learns nothing; its evaluations follow a script of nats per token."""

    def __init__(self, script):
        self.script = iter(script)
        self.rates = []

    def zero_state(self, batch):
        return ()

    def update(self, batch, state, lr):
        self.rates.append(lr)
        count = int(batch.weight.sum())
        return Tally(2.0 * count, count, count), 1.0, state


def scripted(monkeypatch, script, **settings):
    """Run `fit` on a scripted engine; return progress events, the keeper, and the engine."""
    engine, keeper = ScriptedEngine(script), Notes()

    def evaluation(engine, *_):
        known, unknown = next(engine.script)
        return Tally(known * 10 + unknown * 2, 12, 12, {"unknown_nats": unknown * 2, "unknown": 2})

    monkeypatch.setattr(lm, "evaluate", evaluation)
    config = TrainConfig(**({"eval_every": 2, "log_every": 1} | settings))
    lesson = lesson_of(part_of([2, 3] * 200), part_of([2, 3] * 6), batch=2, steps=4)
    return list(fit(engine, lesson, config, keeper)), keeper, engine


def test_the_best_model_is_kept_and_ties_are_not_better(monkeypatch):
    script = [(3.0, 0), (2.0, 0), (2.0, 0), (2.5, 0), (1.5, 0)]
    events, keeper, _ = scripted(monkeypatch, script, steps=10)
    assert keeper.models == [2, 4, 10]
    assert [event.step for event in events if event.best] == [2, 4, 10]
    assert keeper.states[-1].best == 1.5


def test_unknown_tokens_have_no_say_in_what_is_best(monkeypatch):
    _, keeper, _ = scripted(monkeypatch, [(2.0, 1.0), (1.9, 9.0)], steps=4)
    assert keeper.models == [2, 4]
    entry = keeper.entries[-1]
    assert entry["valid_nats_known"] == pytest.approx(1.9)
    assert entry["valid_nats"] == pytest.approx((19 + 18) / 12)
    assert entry["valid_unknown"] == 2


def test_the_log_has_the_columns_that_are_promised(monkeypatch):
    _, keeper, _ = scripted(monkeypatch, [(2.0, 0)], steps=2)
    promised = {
        "step", "tokens", "epoch", "seconds", "train_nats", "valid_nats", "lr", "grad_norm", "tokens_per_second",
        "sample",
    }  # fmt: skip
    assert all(promised | {"valid_nats_known", "valid_unknown"} == entry.keys() for entry in keeper.entries)
    assert keeper.entries[0]["valid_nats"] is None
    assert [entry["step"] for entry in keeper.entries] == [1, 2]
    assert keeper.entries[-1]["train_nats"] == pytest.approx(2.0)
    assert json.loads(json.dumps(keeper.entries)) == keeper.entries


def test_the_log_has_a_sample_at_first_after_each_fifth_and_at_the_end(monkeypatch):
    """Where there are evaluations, it stands beside one; a model that has gone astray writes
    none."""
    _, keeper, _ = scripted(monkeypatch, [(2.0, 0)] * 10, steps=20)
    written = {entry["step"]: entry["sample"] for entry in keeper.entries if entry["sample"]}
    assert written == {step: f"written at step {step}" for step in (2, 4, 8, 12, 16, 20)}
    _, keeper, _ = scripted(monkeypatch, [(math.inf, 0), *[(2.0, 0)] * 9], steps=20)
    assert [entry["step"] for entry in keeper.entries if entry["sample"]] == [4, 8, 12, 16, 20]


def test_without_a_validation_part_samples_stand_beside_the_training_loss():
    config = TrainConfig(batch_size=8, seq_len=16, steps=20, log_every=3)
    engine, keeper = NumpyEngine(ModelConfig(10, hidden=4), 1, config), Notes()
    lesson = lesson_of(part_of(list(range(2, 10)) * 40), Part.from_ids([]))
    list(fit(engine, lesson, config, keeper))
    sampled = [entry["step"] for entry in keeper.entries if entry["sample"]]
    assert sampled == [3, 6, 9, 12, 18, 20]


def test_the_log_tells_the_epochs_read():
    _, keeper, _ = trained(list(range(2, 10)) * 40, [], 10, epochs=2)
    epochs = [entry["epoch"] for entry in keeper.entries]
    chunks = len(epochs) / 2
    assert epochs == [round(number / chunks, 4) for number in range(1, len(epochs) + 1)]


def test_patience_counts_evaluations(monkeypatch):
    script = [(3.0, 0), (2.0, 0), *[(2.0, 0)] * 9]
    events, _, _ = scripted(monkeypatch, script, steps=100, patience=3)
    assert events[-1].step == 2 * (2 + 3)
    assert events[-1].last


def test_plateaus_lower_the_learning_rate(monkeypatch):
    script = [(3.0, 0), (3.1, 0), (2.0, 0), (2.5, 0), (2.6, 0)]
    _, _, engine = scripted(monkeypatch, script, steps=10, schedule="plateau", lr=1.0, lr_decay=0.5)
    assert engine.rates == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_epochs_are_whole_passes_and_the_schedule_ends_with_them(monkeypatch):
    lesson = lesson_of(part_of([2, 3] * 200), part_of([2]), batch=2, steps=4)
    chunks = [lesson.train.chunks(epoch) for epoch in range(2)]
    script = [(2.0, 0)] * sum(chunks)
    events, _, engine = scripted(monkeypatch, script, epochs=2.0, lr=1.0)
    assert events[-1].step == sum(chunks)
    assert events[-1].epoch == pytest.approx(2.0)
    assert engine.rates == sorted(engine.rates, reverse=True)
    assert engine.rates[0] == 1
    assert engine.rates[-1] < 1e-3


class Clock:
    """Time that passes only when the engine works: 10 ms an update."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize("cost", [0.2, 0.27, 0.37])
def test_minutes_end_on_time_with_the_schedule_and_little_evaluation(monkeypatch, cost):
    clock, engine, keeper = Clock(), ScriptedEngine(()), Notes()
    spent = []

    def update(batch, state, lr):
        clock.now += 0.01
        return ScriptedEngine.update(engine, batch, state, lr)

    def evaluation(*_):
        clock.now += cost
        spent.append(cost)
        return Tally(1.0, 1, 1)

    monkeypatch.setattr(engine, "update", update, raising=False)
    monkeypatch.setattr(lm, "evaluate", evaluation)
    monkeypatch.setattr(training, "time", clock)
    lesson = lesson_of(part_of([2, 3] * 2000), part_of([2, 3] * 500), batch=2, steps=4)
    events = list(fit(engine, lesson, TrainConfig(minutes=1.0, lr=1.0), keeper))
    assert 57 < clock.now - 1000 <= 60
    assert engine.rates[-1] < 1e-4
    assert events[-1].last
    assert events[-1].valid
    assert sum(spent) <= 0.06 * 60
    evaluated = [each.seconds for each in events if each.valid]
    for each in (each for each in events[:-1] if each.seconds >= evaluated[0]):
        coming = min(seconds for seconds in evaluated if seconds > each.seconds)
        assert each.until_valid == pytest.approx(coming - each.seconds, abs=0.5)
    assert events[-1].until_valid is None


def test_the_time_to_the_next_evaluation_follows_from_the_steps_to_it():
    cycle = [2, 3, 3, 4] * 200
    events, _, _ = trained(cycle, cycle[:200], 5, steps=25, eval_every=10)
    assert [each.step for each in events if each.valid] == [10, 20, 25]
    for each in events[:-1]:
        steps = next(step for step in (10, 20, 25) if step > each.step) - each.step
        assert each.until_valid * each.tokens_per_second == pytest.approx(steps * 8 * 16)


def test_a_stop_finishes_the_step_and_saves(monkeypatch):
    engine, keeper = ScriptedEngine(()), Notes()
    config = TrainConfig(steps=100, log_every=1)
    lesson = lesson_of(part_of([2, 3] * 200), Part.from_ids([]), batch=2, steps=4)
    events = list(fit(engine, lesson, config, keeper, stop=lambda: len(engine.rates) >= 7))
    assert events[-1].step == 7
    assert events[-1].last
    assert keeper.states[-1].step == 7


def test_a_stop_between_two_epochs_is_saved_too():
    """It comes when the last batch of an epoch is done and reported, and the next step answers it."""
    config = TrainConfig(batch_size=2, seq_len=4, epochs=50.0)
    engine, keeper, stopped = NumpyEngine(ModelConfig(4, hidden=4, embedding=2), 1, config), Notes(), []
    lesson = lesson_of(part_of([2, 3] * 8), Part.from_ids([]), 2, 4)
    for progress in fit(engine, lesson, config, keeper, stop=lambda: bool(stopped)):
        if progress.epoch == 3:
            stopped.append(True)
    assert progress.last
    assert keeper.states[-1].step == progress.step
    assert keeper.models[-1] == progress.step


def test_without_validation_the_last_weights_are_the_model():
    config = TrainConfig(steps=5, save_every=2)
    keeper = Notes()
    engine = NumpyEngine(ModelConfig(4, hidden=4, embedding=2), 1, config)
    list(fit(engine, lesson_of(part_of([2, 3] * 200), Part.from_ids([])), config, keeper))
    assert keeper.models == [2, 4, 5]


def test_divergence_names_the_step_and_saves_nothing_bad():
    config = TrainConfig(steps=50, lr=1e30, optimizer="sgd", clip=1e30)
    shape = ModelConfig(4, cell="rnn", nonlinearity="relu", hidden=8, embedding=4)
    engine, keeper = NumpyEngine(shape, 1, config), Notes()
    with pytest.raises(DivergedError, match=r"step \d+: .* no longer a finite number"):
        list(fit(engine, lesson_of(part_of([2, 3] * 200), Part.from_ids([])), config, keeper))
    assert len(keeper.models) == 0


# --- resume ----------------------------------------------------------------------------------------------------------


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def train(where, given, stop_at=None, resume=False):
    """Train in `where`, stopping after step `stop_at`; return the run."""
    with Directory(where) as directory:
        run = open_run(directory, given, resume)
        for _ in run.events(lambda: stop_at is not None and run.standing.step >= stop_at):
            pass
    return run


def outcome(where):
    """Return all that a run leaves, but for what may differ: times, and the id drawn for the run."""
    tensors, metadata = checkpoint.load(where / "model.safetensors")
    state, more = checkpoint.load(where / "resume.safetensors")
    log = [json.loads(line) for line in (where / "log.jsonl").read_text().splitlines()]
    facts = json.loads(metadata["charlm.training"])
    resume = json.loads(more["charlm.resume"])
    for record in (*log, facts, resume["state"]):
        for name in ("seconds", "tokens_per_second", "run"):
            record.pop(name, None)
    return tensors, state, facts, resume, log


def assert_same(first, second):
    for ours, theirs in zip(first[:2], second[:2], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    assert first[2:] == second[2:]


RUNS = {
    "gru": {},
    "lstm, rmsprop, dropout": {"cell": "lstm", "optimizer": "rmsprop", "dropout": 0.3},
    "rnn, sgd": {"cell": "rnn", "optimizer": "sgd", "layers": 2},
    "simple gru, normed": {"cell": "simple-gru", "layers": 2, "layer_norm": True, "residual": True, "dropout": 0.2},
    "peepholes, muon": {"cell": "lstm-peephole", "layers": 2, "optimizer": "muon"},
    "words": {"tokenizer": "word", "min_count": 1, "dropout": 0.2},
    "document": {"sequences": "document", "dropout": 0.2},
    "stream": {"context": "stream", "schedule": "step", "lr_decay_after": 1.0},
    "plateau": {"schedule": "plateau", "eval_every": 3},
    "patience": {"eval_every": 3, "patience": 2, "lr": 0.3},
}


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_stopped_and_resumed_ends_with_the_same_bits(tmp_path, settings):
    corpus = write(tmp_path / "corpus.txt", DOCUMENT if settings.get("sequences") else LINES)
    given = {"corpus": (corpus,), "steps": 30, **TINY, **settings}
    train(tmp_path / "whole", given)
    whole = outcome(tmp_path / "whole")
    for stops in ([1], [17], [5, 6, 21]):
        where = tmp_path / f"parts-{len(stops)}-{stops[0]}"
        for number, stop in enumerate([*stops, None]):
            train(where, given if number == 0 else {}, stop, resume=number > 0)
        assert_same(whole, outcome(where))


def test_a_resume_keeps_its_settings_and_says_what_may_not_change(tmp_path):
    corpus = write(tmp_path / "corpus.txt", LINES)
    given = {"corpus": (corpus,), "steps": 6, **TINY}
    train(tmp_path / "m", given, stop_at=2)
    with pytest.raises(UsageError, match="hidden 8 -> 9"):
        train(tmp_path / "m", {"hidden": 9}, resume=True)
    run = train(tmp_path / "m", {"steps": 8}, resume=True)
    assert run.standing.step == 8
    assert any("steps 6 -> 8" in note for note in run.notes)


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        (DOCUMENT, {}, "newline"),
        (DOCUMENT, {"tokenizer": "word", "min_count": 1}, "newline"),
        (DOCUMENT, {"tokenizer": "byte"}, "newline"),
        (DOCUMENT, {"context": "sequence"}, "sequence"),
        (DOCUMENT.replace("\n", " "), {"tokenizer": "byte"}, "sequence"),
        (LINES, {}, "sequence"),
        (LINES, {"tokenizer": "byte", "context": "auto"}, "sequence"),
    ],
)
def test_what_a_text_begins_from_is_settled_and_written_down(tmp_path, text, settings, expected):
    given = {"corpus": (write(tmp_path / "corpus.txt", text),), "steps": 2, **TINY, **settings}
    train(tmp_path / "m", given, stop_at=1)
    run = train(tmp_path / "m", given, resume=True)
    assert run.model.language.context == run.settings.text.context == expected
    assert f'context = "{expected}"' in (tmp_path / "m" / "config.toml").read_text().splitlines()
    start = load(tmp_path / "m").language.start
    newline = run.model.tokenizer.newline
    assert start == (Context(newline, inside=True) if expected == "newline" else Context())
    inputs = next(run.lesson.train.epoch(0)).inputs[0]
    assert (NO_TOKEN in inputs) == (expected == "sequence")


def test_newline_as_context_is_refused_where_no_line_begins(tmp_path):
    for text, settings in ((LINES, {}), (DOCUMENT.replace("\n", " "), {"sequences": "document"})):
        given = {"corpus": (write(tmp_path / "corpus.txt", text),), "context": "newline", **TINY, **settings}
        with pytest.raises(UsageError, match="context newline needs a document of several lines"):
            train(tmp_path / "m", given)


def test_a_changed_corpus_is_not_resumed(tmp_path):
    corpus = write(tmp_path / "corpus.txt", LINES)
    train(tmp_path / "m", {"corpus": (corpus,), "steps": 6, **TINY}, stop_at=2)
    write(tmp_path / "corpus.txt", LINES.replace("a", "b"))
    with pytest.raises(UsageError, match="not the one this run was trained on"):
        train(tmp_path / "m", {}, resume=True)


def test_a_damaged_log_does_not_stop_a_resume(tmp_path):
    corpus = write(tmp_path / "corpus.txt", LINES)
    train(tmp_path / "m", {"corpus": (corpus,), "steps": 6, "log_every": 1, **TINY}, stop_at=3)
    log = tmp_path / "m" / "log.jsonl"
    log.write_bytes(log.read_bytes() + b'{"step": \xff\n[1]\n')
    train(tmp_path / "m", {}, resume=True)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]


GARBLED = [{}, {"settings": 5, "state": {}}, {"settings": {}}, {"state": None}, {"state": {"steps": 1}}, {"engine": {}}]


@pytest.mark.parametrize("change", GARBLED, ids=str)
def test_a_signed_but_garbled_state_is_data_error(tmp_path, change):
    corpus = write(tmp_path / "corpus.txt", LINES)
    train(tmp_path / "m", {"corpus": (corpus,), "steps": 6, **TINY}, stop_at=2)
    path = tmp_path / "m" / "resume.safetensors"
    arrays, metadata = checkpoint.load(path)
    resume = json.loads(metadata["charlm.resume"]) | change if change else {}
    checkpoint.save(path, arrays, metadata | {"charlm.resume": json.dumps(resume)})
    with pytest.raises((DataError, UsageError)):
        train(tmp_path / "m", {}, resume=True)


def test_files_of_different_runs_are_not_mixed(tmp_path):
    corpus = write(tmp_path / "corpus.txt", LINES)
    for seed, name in enumerate(("one", "two")):
        train(tmp_path / name, {"corpus": (corpus,), "steps": 3, "seed": seed, **TINY})
    (tmp_path / "one" / "model.safetensors").replace(tmp_path / "two" / "model.safetensors")
    with pytest.raises(DataError, match="different runs"):
        train(tmp_path / "two", {"steps": 5}, resume=True)


def test_the_test_part_is_scored_once_with_the_best_weights(tmp_path):
    corpus = write(tmp_path / "corpus.txt", LINES)
    run = train(tmp_path / "m", {"corpus": (corpus,), "steps": 20, "test_fraction": 0.2, **TINY})
    facts = json.loads(checkpoint.load(tmp_path / "m" / "model.safetensors")[1]["charlm.training"])
    assert facts["test_nats"] == run.test.mean
    assert math.isfinite(facts["test_nats"])
    assert run.test.count == len(run.corpus.test)


# --- when a run evaluates, reports and stops ----------------------------------------------------------------------


def steps_of_evaluations(events):
    return [event.step for event in events if event.valid is not None]


def test_evaluations_come_by_the_sizes_where_the_run_has_steps(monkeypatch):
    """At most 5 % of the time: 1,000 tokens at 0.35 of a training token's cost, against 8 tokens a step."""
    monkeypatch.setattr(lm, "evaluate", lambda *_: Tally(1.0, 1))
    lesson = lesson_of(part_of([2, 3] * 200), part_of([2] * 999), batch=2, steps=4)
    events = list(fit(ScriptedEngine(()), lesson, TrainConfig(steps=2000), Notes()))
    assert steps_of_evaluations(events) == [875, 1750, 2000]


class Timed(ScriptedEngine):
    """Takes 10 ms an update."""

    def __init__(self, clock):
        super().__init__(())
        self.clock = clock

    def update(self, batch, state, lr):
        self.clock.now += 0.01
        return super().update(batch, state, lr)


def timed(monkeypatch, cost, stop=training.never, **settings):
    """Run `fit` on a clock of its own, an evaluation taking `cost` seconds; return the events and the keeper."""
    clock, keeper = Clock(), Notes()

    def evaluation(*_):
        clock.now += cost
        return Tally(1.0, 1, 1)

    monkeypatch.setattr(lm, "evaluate", evaluation)
    monkeypatch.setattr(training, "time", clock)
    lesson = lesson_of(part_of([2, 3] * 2000), part_of([2, 3] * 4), batch=2, steps=4)
    return list(fit(Timed(clock), lesson, TrainConfig(**settings), keeper, stop=stop)), keeper


def test_evaluations_come_by_the_clock_where_the_run_has_minutes(monkeypatch):
    """One that takes longer than its size suggests comes seldom."""
    events, _ = timed(monkeypatch, cost=1.0, minutes=1.0)
    assert 1 <= len(steps_of_evaluations(events)) <= 4


def test_evaluations_come_when_they_are_asked_for_also_in_minutes(monkeypatch):
    events, _ = timed(monkeypatch, cost=0.0, minutes=0.1, eval_every=100)
    assert steps_of_evaluations(events)[:4] == [100, 200, 300, 400]


def test_reports_come_each_step_of_a_short_run_and_each_tenth_where_the_run_has_minutes(monkeypatch):
    _, keeper, _ = scripted(monkeypatch, [(1.0, 0)] * 3, steps=5, log_every=None)
    assert [entry["step"] for entry in keeper.entries] == [1, 2, 3, 4, 5]
    _, keeper = timed(monkeypatch, cost=0.0, minutes=0.02, eval_every=1000)
    assert [entry["step"] for entry in keeper.entries[:3]] == [10, 20, 30]


def test_log_every_is_obeyed(monkeypatch):
    _, keeper, _ = scripted(monkeypatch, [(1.0, 0)] * 9, steps=9, eval_every=9, log_every=4)
    assert [entry["step"] for entry in keeper.entries] == [4, 8, 9]


def test_no_evaluation_begins_in_minutes_once_somebody_has_stopped_the_run(monkeypatch):
    calls = []
    events, _ = timed(monkeypatch, cost=0.0, stop=lambda: len(calls) > 3 or bool(calls.append(0)), minutes=1.0)
    assert events[-1].last
    assert steps_of_evaluations(events) == []


def test_a_validation_that_is_no_number_is_not_the_best(monkeypatch):
    """It was kept as the best, and nothing after it was better than NaN."""
    script = [(math.nan, 0), (2.0, 0), (math.inf, 0), (1.5, 0)]
    _, keeper, _ = scripted(monkeypatch, script, steps=8)
    assert keeper.models == [4, 8]
    assert keeper.states[-1].best == 1.5
    assert json.loads(json.dumps(keeper.entries), parse_constant=pytest.fail)


def test_speed_is_tokens_over_the_time_of_updates_alone(monkeypatch):
    """8 tokens in 10 ms, whatever an evaluation takes."""
    _, keeper = timed(monkeypatch, cost=3.0, steps=40, eval_every=10, log_every=5)
    assert [entry["tokens_per_second"] for entry in keeper.entries] == pytest.approx([800.0] * 8)


def test_nothing_is_evaluated_where_nothing_is_held_out():
    lesson = lesson_of(part_of([2, 3] * 200), Part.from_ids([]), batch=2, steps=4)
    events = list(fit(ScriptedEngine(()), lesson, TrainConfig(steps=5, eval_every=1), Notes()))
    assert [event.valid for event in events] == [None] * 5


# --- what a run says of itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "told"), [
    ({}, []),
    ({"valid_fraction": 0.0}, ["no validation part"]),
    ({"test_fraction": 0.001}, ["the test part is empty"]),
    ({"steps": None, "epochs": None}, ["plan:"]),
    ({"steps": None, "minutes": 1.0, "hidden": None}, ["plan:"]),
    ({"steps": None, "minutes": 1.0, "dropout": 0.1}, []),
    ({"steps": None, "epochs": 1.0, "hidden": None}, []),
])  # fmt: skip
def test_a_run_says_what_was_planned_and_what_is_empty(tmp_path, settings, told):
    corpus = write(tmp_path / "corpus.txt", LINES)
    given = {"corpus": (corpus,), "steps": 4, **TINY} | settings
    given = {name: value for name, value in given.items() if value is not None}
    with Directory(tmp_path / "m") as directory:
        notes = open_run(directory, given).notes
    known = ["no validation part", "the test part is empty", "plan:"]
    assert [start for start in known if any(note.startswith(start) for note in notes)] == told


@pytest.mark.parametrize("calls", [1, 5])
def test_a_stop_while_the_test_part_is_scored_leaves_a_whole_run(tmp_path, monkeypatch, calls):
    """Whatever of it was scored is no figure; a stop before it begins does not begin it."""
    corpus = write(tmp_path / "corpus.txt", LINES)
    monkeypatch.setattr(lm.LanguageCourse, "test", lambda *_: None)
    run = train(tmp_path / "m", {"corpus": (corpus,), "steps": calls, "test_fraction": 0.2, **TINY})
    assert run.test is None
    assert "test_nats" not in load(tmp_path / "m").facts
    monkeypatch.setattr(lm.LanguageCourse, "test", lambda *_: pytest.fail("begun after a stop"))
    given = {"corpus": (corpus,), "steps": 4, "test_fraction": 0.2, **TINY}
    assert train(tmp_path / "stopped", given, stop_at=2).standing.step == 2
    assert train(tmp_path / "none", given | {"test_fraction": 0.0}).standing.step == 4


def test_a_resume_with_nothing_changed_says_only_where_it_goes_on(tmp_path):
    corpus = write(tmp_path / "corpus.txt", LINES)
    train(tmp_path / "m", {"corpus": (corpus,), "steps": 6, **TINY}, stop_at=2)
    with Directory(tmp_path / "m") as directory:
        notes = open_run(directory, {}, resume=True).notes
    assert notes == [f"going on from step 2 in {tmp_path / 'm'}"]


def test_another_number_of_files_is_told_where_the_corpus_differs(tmp_path):
    first, second = write(tmp_path / "a.txt", LINES), write(tmp_path / "b.txt", DOCUMENT)
    settings = {"steps": 6, "sequences": "line", **TINY}
    train(tmp_path / "m", {"corpus": (first, second), **settings}, stop_at=2)
    with pytest.raises(UsageError, match=r"\(1 files, then 2\)"):
        train(tmp_path / "m", {"corpus": (first,)}, resume=True)
    write(tmp_path / "b.txt", DOCUMENT[:-9])
    with pytest.raises(UsageError, match="not the one") as told:
        train(tmp_path / "m", {}, resume=True)
    assert "files" not in str(told.value)
