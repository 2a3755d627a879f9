"""Counts beside a network: what both say together wherever something is predicted, and what training makes of it."""

import json
import math
import os
import signal
import warnings
from dataclasses import replace

import numpy as np
import pytest

from charlm import checkpoint, counted, scoring
from charlm.config import NO_TOKEN
from charlm.counts.kneser_ney import count_text
from charlm.engines import Tally
from charlm.engines.blend import GRID, BlendEngine, GridScorer, blended, fitted
from charlm.engines.counts import CountsEngine, NoNetwork
from charlm.errors import DataError, UsageError
from charlm.loading import load
from charlm.model import Model, mix, rebuilt
from charlm.sampling import SamplingConfig
from charlm.scoring import evaluate
from charlm.text.batches import evaluation_columns
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS, UNK
from tests.test_commands import SMALL, assert_refused, charlm
from tests.test_training import DOCUMENT, LINES, TINY, train
from tests.tiny import tiny_model

WEIGHT = 0.375
KINDS = {
    "line": {"sequences": "line"},
    "stream": {"sequences": "line", "context": "stream"},
    "document": {"tokens": "ab\n", "sequences": "document", "context": "newline"},
    "paragraph": {"tokens": "ab\n", "sequences": "paragraph"},
    "from zero": {"tokens": "ab\n", "sequences": "document"},
    "words": {"tokens": ["a", "b", "x"], "words": True},
}


def ids_of(model, count=400, seed=1):
    """Return ids as a corpus of the model's has them, each text with its EOS."""
    ids = np.random.default_rng(seed).integers(1, model.tokenizer.size, count).astype(np.int32)
    ids[ids == UNK] = model.tokenizer.size - 1
    ids[:: 9 if not model.language.document else 100] = EOS
    return np.append(ids[1:], np.int32(EOS))


def with_counts(model, order=4, weight=WEIGHT):
    counts = counted.counted(Part.from_ids(ids_of(model)), order, model.language, None, {})
    return type(model)(model.trained, model.config, model.language, model.facts, counts, weight)


def alone(model):
    return Model(
        NoNetwork(), replace(model.config, layers=0), model.language, model.facts, model.counts
    )


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def model(request):
    return with_counts(tiny_model(**request.param))


TEXTS = ["", "a", "abba", "babaabab" * 9]


def spelled(model, text):
    """Return a text whose characters are the model's tokens."""
    return " ".join(text) if model.tokenizer.kind == "word" else text


def test_a_score_is_the_sum_of_what_both_say_at_each_token(model):
    network, counts = model.without_counts(), alone(model)
    for text in (spelled(model, text) for text in TEXTS):
        both = zip(network.full_scores(text, True), counts.full_scores(text, True), strict=True)
        every = [(1 - WEIGHT) * math.exp(a.logprob) + WEIGHT * math.exp(b.logprob) for a, b in both]
        assert model.score(text, True).logprob == pytest.approx(sum(map(math.log, every)), rel=1e-6)
        assert model.score(text, True).logprob != pytest.approx(
            network.score(text, True).logprob, rel=1e-3
        )


def test_next_tokens_are_those_of_the_state_and_sum_to_one(model):
    for prompt in TEXTS:
        found = model.next_tokens(spelled(model, prompt))
        said = model.full_scores(spelled(model, prompt + "a"), False)
        assert sum(found.values()) == pytest.approx(1, abs=1e-6)
        *_, last = said
        assert math.log(found["a"]) == pytest.approx(last.logprob, rel=1e-6)


def test_ranks_and_alternatives_are_those_of_the_blend(model):
    text = TEXTS[2]
    for k, token in enumerate(model.full_scores(spelled(model, text), False)):
        before = model.next_tokens(spelled(model, text[:k]))
        assert token.rank == 1 + sum(math.log(p) > token.logprob + 1e-9 for p in before.values())
        best = sorted(before.values(), reverse=True)[:3]
        assert [math.exp(logp) for _, logp in token.alternatives] == pytest.approx(best, rel=1e-6)


def test_what_is_drawn_has_the_probability_that_scoring_says(model):
    for sample in model.samples(5, SamplingConfig(12, unk="keep"), seed=3):
        text, ended = sample.text, sample.ended == "eos"
        if "<unk>" not in text and sample.ids:
            assert model.score(text, ended).logprob == pytest.approx(sample.logprob, rel=1e-6)


def test_a_beam_finds_the_most_probable_text():
    model = with_counts(tiny_model())
    (best,) = model.beam(64, 3)[:1]
    every = [a + b + c for a in "ab" for b in "ab" for c in "ab"]
    scores = [model.score(text, False).logprob for text in every]
    scores += [
        model.score(text, True).logprob
        for text in ("", *"ab", *(a + b for a in "ab" for b in "ab"))
    ]
    assert best.logprob == pytest.approx(max(scores), rel=1e-6)


def test_step_by_step_is_as_in_one(model):
    state, total = model.begin_state(), 0.0
    for token in ("a", "b", "a"):
        logp, state = model.base_score(state, token)
        total += logp
    assert total == pytest.approx(model.score(spelled(model, "aba"), False).logprob, rel=1e-6)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("steps", [1, 7, 64])
def test_chunks_columns_and_threads_change_no_bit_of_the_counts(model, steps, threads, monkeypatch):
    part, start = Part.from_ids(ids_of(model, 2100, seed=2)), model.language.start
    engine = CountsEngine(model.counts)
    whole = scoring.token_log_probs(engine, evaluation_columns(part, start, True, True, 1)).target
    running = model.language.document or start.carry
    columns = evaluation_columns(part, start, running, True, 5)
    assert len(columns.starts) > 1
    monkeypatch.setattr(scoring, "_STEPS", steps)
    found = scoring.token_log_probs(engine, columns).target
    assert (found == whole).all()
    blend = BlendEngine(tiny_of(model, threads), model.counts, 1.0)
    assert (scoring.token_log_probs(blend, columns).target == whole).all()


def tiny_of(model, threads):
    other = tiny_model(
        model.tokenizer.to_dict()["tokens"], threads=threads, words=model.tokenizer.kind == "word"
    )
    return other.trained


def test_a_text_begins_alike_wherever_it_stands(model):
    """After EOS, the zero input and the first step of a column: what came before in other texts plays no part."""
    ids = np.array([3, 2, 3], np.int32)
    first = model.language.start.alone().first_input
    walk = model.counts.walk
    lone = walk(np.append(np.int32(first), ids)[:, None], None, model.counts.zero_state(1))[:, 0]
    before = [2, 3, 3, 2, EOS if first == EOS else first]
    reset = np.array([False] * 4 + [first not in (EOS, NO_TOKEN)] + [False] * 3)
    longer = walk(
        np.append(before, ids).astype(np.int32)[:, None], reset[:, None], model.counts.zero_state(1)
    )[:, 0]
    assert (longer[4:] == lone).all()


def test_the_grid_is_the_nats_of_every_weight_and_ties_go_to_the_smaller(model):
    part = Part.from_ids(ids_of(model, 900, seed=5))
    start, document = model.language.start, model.language.document
    tally = fitted(evaluate(GridScorer(model.trained, model.counts, 0.0), part, start, document))
    every = []
    for weight in GRID:
        one = evaluate(
            BlendEngine(model.trained, model.counts, float(weight)), part, start, document
        )
        every.append(one.nats - one.unknown_nats)
    best = int(np.argmin(every))
    assert tally.sums["weight"] == GRID[best]
    assert tally.nats - tally.unknown_nats == pytest.approx(every[best], rel=1e-9)
    assert tally.sums["network_nats"] == pytest.approx(
        every[0] + tally.sums["network_unknown_nats"], rel=1e-12
    )
    assert tally.sums["counts_nats"] == pytest.approx(every[-1], rel=1e-9)
    flat = replace(tally, sums={"grid": np.full(33, 2.0), "unknown_grid": np.zeros(33)})
    assert fitted(flat).sums["weight"] == 0


def test_unknown_targets_have_no_say_in_the_weight():
    """The known ones are best under weight 1/32, all together under 2/32."""
    grid, unknown = np.full(33, 9.0), np.zeros(33)
    grid[:3], unknown[:3] = [9, 8, 7], [0, 0, -5]
    found = fitted(Tally(9.0, 4, 4, {"grid": grid, "unknown_grid": unknown, "unknown": 1}))
    assert (found.sums["weight"], found.nats, found.unknown_nats) == (1 / 32, 8, 0)


def test_a_blend_of_nothing_is_the_network_to_the_bit():
    logp, p = np.log([0.25, 0.5]), np.array([0.5, 0.125])
    assert blended(logp, p, 0.0) is logp
    assert np.exp(blended(logp, p, 0.5)) == pytest.approx([0.375, 0.3125])
    assert np.isfinite(blended(np.array([-800.0]), np.array([0.1]), 0.5)).all()


def test_models_mix_as_their_blends(model):
    language, words = model.language, model.tokenizer.kind == "word"
    tokens = model.tokenizer.to_dict()["tokens"]
    other = with_counts(
        tiny_model(tokens, language.sequences, language.context, seed=4, words=words), 2
    )
    mixed = mix([model, other], [0.25, 0.75])
    assert mixed.next_tokens("a")["b"] == pytest.approx(
        0.25 * model.next_tokens("a")["b"] + 0.75 * other.next_tokens("a")["b"], rel=1e-6)  # fmt: skip


def test_cache_and_dynamic_evaluation_act_on_the_network_and_counts_come_last():
    model = with_counts(tiny_model())
    network, part, start = (
        model.without_counts(),
        Part.from_ids(ids_of(model, 120, seed=6)),
        model.language.start,
    )
    for adapting in (
        lambda one: one.cached(9),
        lambda one: one.dynamic(1e-3),
        lambda one: one.cached(9, 1e-3),
    ):
        columns = evaluation_columns(part, start, False, True, 1)
        outer, inner = adapting(model), adapting(network)
        state, before, place = outer.zero_state(1), inner.zero_state(1), model.counts.zero_state(1)
        for batch in columns.batches(32):
            tally, state = outer.evaluate(batch, state)
            found, before = inner.log_probs(batch, before)
            nodes = model.counts.walk(batch.inputs, batch.reset, place)
            place = nodes[-1]
            expected = blended(found.target, model.counts.targets(nodes, batch.targets), WEIGHT)
            assert tally.nats == pytest.approx(-(expected * batch.weight).sum(), rel=1e-9)
    with pytest.raises(UsageError, match="no network"):
        alone(model).dynamic(0.1)


# --- the file -----------------------------------------------------------------------------------------------------


def test_a_file_keeps_counts_and_weight_which_make_it_format_2(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert again.counts_weight == WEIGHT
    assert again.score("abba").logprob == model.score("abba").logprob
    assert checkpoint.metadata(tmp_path / "m.safetensors")["charlm.format"] == "2"
    model.without_counts().save(tmp_path / "n.safetensors")
    form = "2" if model.language.sequences == "paragraph" else "1"
    assert checkpoint.metadata(tmp_path / "n.safetensors")["charlm.format"] == form
    tiny = tiny_model(model.tokenizer.to_dict()["tokens"], model.language.sequences, model.language.context,
                      words=model.tokenizer.kind == "word")  # fmt: skip
    tiny.save(tmp_path / "o.safetensors")
    assert (tmp_path / "n.safetensors").read_bytes() == (tmp_path / "o.safetensors").read_bytes()


@pytest.mark.parametrize("weight", [-0.1, 1.1, None, "0.5", True, [0.5]])
def test_a_weight_that_is_none_is_refused(model, weight):
    metadata = model.metadata()
    facts = json.loads(metadata["charlm.counts"]) | {"weight": weight}
    with pytest.raises(DataError, match="weight"):
        rebuilt(model.tensors(), metadata | {"charlm.counts": json.dumps(facts)})


def test_counts_without_a_word_on_them_or_of_another_vocabulary_are_refused(model):
    metadata = model.metadata()
    del metadata["charlm.counts"]
    with pytest.raises(DataError, match="counts"):
        rebuilt(model.tensors(), metadata)
    other = with_counts(tiny_model("abcdefg"))
    names = [name for name in other.tensors() if name.startswith("counts.")]
    with pytest.raises(DataError, match="counts"):
        rebuilt(model.tensors() | {name: other.tensors()[name] for name in names}, model.metadata())


# --- training -----------------------------------------------------------------------------------------------------


def run_of(path, text=LINES, **settings):
    corpus = path / "corpus.txt"
    corpus.write_text(text)
    return {"corpus": (str(corpus),), "steps": 30, "eval_every": 6, **TINY, **settings}


@pytest.mark.parametrize("settings", [
    {}, {"cell": "lstm", "optimizer": "adam"}, {"schedule": "plateau", "optimizer": "sgd", "lr": 0.5, "eval_every": 1},
    {"text": DOCUMENT, "sequences": "document"}, {"text": DOCUMENT, "sequences": "document", "tokenizer": "word"},
], ids=["gru", "lstm", "plateau", "document", "words"])  # fmt: skip
def test_counts_change_no_weight_of_the_network(tmp_path, settings):
    given = run_of(tmp_path, **settings)
    train(tmp_path / "with", given | {"counts": 5})
    train(tmp_path / "without", given | {"counts": 0})
    ours, theirs = (
        checkpoint.load(tmp_path / name / "resume.safetensors")[0] for name in ("with", "without")
    )
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)
    logs = [[json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
            for name in ("with", "without")]  # fmt: skip
    for a, b in zip(*logs, strict=True):
        assert a["lr"] == b["lr"]
        if a["valid_nats"] is None:
            assert a["valid_nats_network"] is b["valid_nats"] is None
        else:
            assert a["valid_nats_network"] == pytest.approx(b["valid_nats"], rel=1e-12)
            assert a["valid_nats"] <= min(a["valid_nats_network"], a["valid_nats_counts"])


def test_each_saved_model_has_the_weight_of_its_own_step(tmp_path):
    run = train(tmp_path / "m", run_of(tmp_path, counts=3))
    entries = [json.loads(line) for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    (best,) = [entry for entry in entries if entry["step"] == run.standing.best_step]
    model = load(tmp_path / "m")
    assert model.counts_weight == best["counts_weight"] == model.facts["counts_weight"]
    assert len({entry["counts_weight"] for entry in entries}) > 1
    part, language = run.corpus.valid, model.language
    tally = evaluate(model.engine, part, language.start, language.document)
    assert tally.mean == pytest.approx(best["valid_nats"], rel=1e-12)
    assert model.facts["valid_nats_counts"] == pytest.approx(
        evaluate(CountsEngine(model.counts), part, language.start, language.document).mean, rel=1e-12)  # fmt: skip


@pytest.mark.parametrize("stop", [1, 13, 24])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, stop):
    given = run_of(tmp_path, counts=4, dropout=0.2)
    train(tmp_path / "whole", given)
    train(tmp_path / "parts", given, stop)
    train(tmp_path / "parts", {}, resume=True)
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert models[0] == models[1]
    states = [
        checkpoint.load(tmp_path / name / "resume.safetensors")[0] for name in ("whole", "parts")
    ]
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


def scripted(monkeypatch, tmp_path, script, **settings):
    """Train while evaluations follow a script of (blend, network); return the run."""
    rest = iter(script)

    def evaluated(*_):
        blend, network = next(rest)
        sums = {
            "weight": 1.0,
            "network_nats": network,
            "network_unknown_nats": 0.0,
            "counts_nats": blend,
        }
        return Tally(blend, 1, 1, sums)

    monkeypatch.setattr("charlm.tasks.lm.evaluate", evaluated)
    monkeypatch.setattr("charlm.tasks.lm.fitted", lambda tally: tally)
    return train(
        tmp_path / "m", run_of(tmp_path, counts=2, **settings) | {"steps": 40, "eval_every": 1}
    )


def test_patience_waits_while_the_network_alone_still_learns(tmp_path, monkeypatch):
    """Where the counts are so good that the blend is theirs, the network may need long to catch up."""
    learning = [(1.0 + k / 100, 5.0 - k / 10) for k in range(9)]
    run = scripted(monkeypatch, tmp_path, [*learning, *[(1.2, 4.2)] * 40], patience=3)
    assert run.standing.step == 9 + 3


def test_of_steps_that_are_as_good_the_one_with_the_best_network_is_kept(tmp_path, monkeypatch):
    run = scripted(
        monkeypatch, tmp_path, [(1.0, 5.0), (1.0, 4.0), (1.0, 4.5), (1.1, 3.0), *[(1.0, 4.0)] * 36]
    )
    assert run.standing.best_step == 2


def test_without_validation_the_weight_is_the_stated_one(tmp_path):
    train(tmp_path / "m", run_of(tmp_path, counts=3, valid_fraction=0.0) | {"eval_every": None})
    assert load(tmp_path / "m").counts_weight == 0.35


def test_a_run_that_had_counted_all_counts_all_when_it_is_taken_up_by_the_clock(
    tmp_path, monkeypatch
):
    train(tmp_path / "m", run_of(tmp_path, counts=3), 7)
    monkeypatch.setattr(counted, "_affordable", lambda *_: pytest.fail("it was decided before"))
    run = train(tmp_path / "m", {"minutes": 0.01}, resume=True)
    assert load(tmp_path / "m").facts["counted_tokens"] == len(run.corpus.train)


def test_a_run_begun_without_counts_resumes_without(tmp_path):
    train(tmp_path / "m", run_of(tmp_path, counts=0), 7)
    arrays, metadata = checkpoint.load(tmp_path / "m" / "resume.safetensors")
    resume = json.loads(metadata["charlm.resume"])
    del resume["settings"]["counts"]  # as an older charlm wrote it
    checkpoint.save(tmp_path / "m" / "resume.safetensors", arrays, metadata | {"charlm.resume": json.dumps(
        resume, sort_keys=True, separators=(",", ":"))})  # fmt: skip
    train(tmp_path / "m", {}, resume=True)
    assert load(tmp_path / "m").counts is None
    with pytest.raises(UsageError, match="counts 0 -> 5"):
        train(tmp_path / "m", {"counts": 5}, resume=True)


def test_too_little_time_counts_the_beginning_and_a_resume_just_that(tmp_path, monkeypatch):
    monkeypatch.setattr(counted, "_affordable", lambda *_: 150)
    run = train(
        tmp_path / "m",
        run_of(tmp_path, counts=3) | {"steps": None, "minutes": 0.02, "eval_every": None},
    )
    model = load(tmp_path / "m")
    assert model.facts["counted_tokens"] == 150
    part = Part.from_ids(run.corpus.train.read(0, 150))
    fewer = count_text(part, model.tokenizer.size, 3, EOS)
    ours, theirs = model.counts.tensors(), fewer.tensors()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    monkeypatch.setattr(counted, "_affordable", lambda *_: pytest.fail("it was decided before"))
    train(tmp_path / "m", {"minutes": 0.03}, resume=True)
    assert load(tmp_path / "m").facts["counted_tokens"] == 150


# --- the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    (tmp_path / "corpus.txt").write_text(LINES)
    done = charlm("train", tmp_path / "corpus.txt", "-m", tmp_path / "m", *SMALL, "--counts", 3)
    assert done.exit_code == 0, done.stderr
    assert "counts: alone, those of this text reach" in done.stderr
    return tmp_path / "m"


def test_no_counts_leaves_the_network_alone(trained):
    model = load(trained).without_counts()
    scored = charlm("score", "-m", trained, "--no-counts", "--json", "aeai")
    assert json.loads(scored.stdout)["logprob"] == pytest.approx(
        model.score("aeai").logprob, rel=1e-9
    )
    drawn = charlm("sample", "-m", trained, "--no-counts", "--seed", 2, "--length", 30)
    assert drawn.stdout.rstrip("\n") == model.sample(30, seed=2).rstrip("\n")
    network = charlm(
        "train", trained.parent / "corpus.txt", "-m", trained.parent / "n", *SMALL, "--counts", 0
    )
    assert network.exit_code == 0
    assert "n-grams" not in network.stderr
    assert_refused(
        charlm("score", "-m", trained.parent / "n", "--no-counts", "a"), 2, "--no-counts"
    )


def test_info_tells_of_the_counts(trained):
    facts = json.loads(charlm("info", "-m", trained, "--json").stdout)
    model = load(trained)
    assert facts["counts_order"] == 3
    assert facts["counted_ngrams"] == len(model.counts.p)
    assert facts["counts_weight"] == model.counts_weight
    assert facts["valid_nats"] <= min(facts["valid_nats_network"], facts["valid_nats_counts"])


def test_layers_0_is_a_model_of_counts_alone(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(LINES)
    done = charlm("train", corpus, "-m", tmp_path / "m", "--layers", 0, "--counts", 4)
    assert done.exit_code == 0, done.stderr
    model = load(tmp_path / "m")
    assert model.counts_weight == 1
    assert (
        model.facts["valid_nats"]
        == json.loads(charlm("info", "-m", tmp_path / "m", "--json").stdout)["valid_nats"]
    )
    scored = json.loads(
        charlm("score", "-m", tmp_path / "m", "--json", "--per-token", "aeai").stdout
    )
    assert scored["logprob"] == pytest.approx(
        sum(token["logprob"] for token in scored["per_token"])
    )
    sample = json.loads(charlm("sample", "-m", tmp_path / "m", "--seed", 1, "--json").stdout)
    assert sample["logprob"] == pytest.approx(
        model.score(sample["text"], sample["ended"] == "eos").logprob, rel=1e-6
    )
    assert charlm("sample", "-m", tmp_path / "m", "-n", 3, "--novelty", corpus).exit_code == 0
    assert charlm("score", "-m", tmp_path / "m", "-m", tmp_path / "m", "aeai").exit_code == 0
    assert charlm("score", "-m", tmp_path / "m", "--corpus", "valid").exit_code == 0
    assert_refused(charlm("score", "-m", tmp_path / "m", "--no-counts", "a"), 2, "--no-counts")
    assert_refused(charlm("train", "-m", tmp_path / "m", "--resume"), 73, "counts alone")
    assert_refused(
        charlm("train", corpus, "-m", tmp_path / "n", "--init-from", tmp_path / "m"),
        2,
        "counts alone",
    )
    assert_refused(
        charlm("train", corpus, "-m", tmp_path / "n", "--layers", 0, "--hidden", 5), 2, "--hidden"
    )
    assert_refused(
        charlm("train", corpus, "-m", tmp_path / "n", "--layers", 0, "--minutes", 5), 2, "--minutes"
    )
    assert_refused(
        charlm("train", corpus, "-m", tmp_path / "n", "--layers", 0, "--counts", 0), 2, "no model"
    )
    assert_refused(
        charlm("train", corpus, "-m", tmp_path / "n", "--layers", 0, "--task", "classify"),
        2,
        "layers 0",
    )


def test_counts_from_an_arpa_file_are_those_of_the_model_that_wrote_it(
    trained, tmp_path, monkeypatch
):
    assert charlm("export", "-m", trained, tmp_path / "c.arpa").exit_code == 0
    monkeypatch.chdir(tmp_path)
    corpus = trained.parent / "corpus.txt"
    given = ["train", corpus, "-m", "n", *SMALL, "--eval-every", 2, "--counts-from"]
    done = charlm(*given, "c.arpa")
    assert done.exit_code == 0, done.stderr
    assert "those of c.arpa reach" in done.stderr
    ours, theirs = (load(path).counts.tensors() for path in (trained, tmp_path / "n"))
    assert all((ours[name] == theirs[name]).all() for name in ours)
    monkeypatch.chdir(trained)
    assert charlm("train", "-m", tmp_path / "n", "--resume", "--steps", 7).exit_code == 0
    assert (
        charlm(
            "train", corpus, "-m", tmp_path / "o", "--config", tmp_path / "n" / "config.toml"
        ).exit_code
        == 0
    )
    assert_refused(charlm(*given, tmp_path / "gone.arpa"), 66, "gone.arpa")
    assert_refused(charlm(*given, tmp_path / "c.arpa", "--counts", 3), 2, "counts-from")
    (tmp_path / "other.txt").write_text(LINES.replace("a", "z"))
    where = ["-m", tmp_path / "p", "--counts-from", tmp_path / "c.arpa"]
    foreign = charlm("train", tmp_path / "other.txt", *where, *SMALL)
    assert_refused(foreign, 65, "c.arpa", "z")
    other = ["train", corpus, "-m", tmp_path / "r", "--layers", 0, "--counts", 2]
    assert charlm(*other).exit_code == 0
    assert charlm("export", "-m", tmp_path / "r", tmp_path / "c.arpa", "--force").exit_code == 0
    resumed = charlm("train", "-m", tmp_path / "n", "--resume", "--steps", 9)
    assert_refused(resumed, 2, "c.arpa", "not what this run began with")
    alone = charlm(
        "train",
        corpus,
        "-m",
        tmp_path / "q",
        "--layers",
        0,
        "--counts-from",
        trained.parent / "d.arpa",
    )
    assert_refused(alone, 66, "d.arpa")


def test_runs_that_read_the_same_counts_from_another_place_are_the_same_run(trained, tmp_path):
    assert charlm("export", "-m", trained, tmp_path / "c.arpa").exit_code == 0
    (tmp_path / "d.arpa").write_bytes((tmp_path / "c.arpa").read_bytes())
    corpus, ids = trained.parent / "corpus.txt", []
    assert (
        charlm("train", corpus, "-m", tmp_path / "r", "--layers", 0, "--counts", 2).exit_code == 0
    )
    assert charlm("export", "-m", tmp_path / "r", tmp_path / "e.arpa").exit_code == 0
    for name in "cde":
        given = ["-m", tmp_path / name, *SMALL, "--counts-from", tmp_path / f"{name}.arpa"]
        assert charlm("train", corpus, *given).exit_code == 0
        ids.append(load(tmp_path / name).facts["run"])
    assert ids[0] == ids[1] != ids[2]


def test_counts_alone_take_the_place_of_a_run_and_leave_nothing_of_it(trained, tmp_path):
    corpus = tmp_path / "other.txt"
    corpus.write_text(DOCUMENT)
    done = charlm("train", corpus, "-m", trained, "--layers", 0, "--force")
    assert done.exit_code == 0, done.stderr
    assert not (trained / "resume.safetensors").exists()
    assert charlm("score", "-m", trained, "--corpus", "valid").exit_code == 0
    assert charlm("sample", "-m", trained, "-n", 2, "--novelty").exit_code == 0
    assert_refused(charlm("train", "-m", trained, "--resume"), 73, "counts alone")


def test_counts_alone_that_are_interrupted_leave_nothing(tmp_path, monkeypatch):
    (tmp_path / "corpus.txt").write_text(LINES)
    monkeypatch.setattr("charlm.tasks.lm.evaluate", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    done = charlm("train", tmp_path / "corpus.txt", "-m", tmp_path / "m", "--layers", 0)
    assert done.exit_code == 143
    assert "nothing was saved" in done.stderr
    assert "--resume" not in done.stderr
    assert not (tmp_path / "m").exists()


def test_a_flag_goes_before_the_settings_of_a_file(trained, tmp_path):
    assert charlm("export", "-m", trained, tmp_path / "c.arpa").exit_code == 0
    corpus, config = trained.parent / "corpus.txt", trained / "config.toml"
    done = charlm(
        "train",
        corpus,
        "-m",
        tmp_path / "n",
        "--config",
        config,
        "--counts-from",
        tmp_path / "c.arpa",
    )
    assert done.exit_code == 0, done.stderr
    again = charlm(
        "train",
        corpus,
        "-m",
        tmp_path / "o",
        "--config",
        tmp_path / "n" / "config.toml",
        "--counts",
        2,
    )
    assert again.exit_code == 0, again.stderr
    assert load(tmp_path / "o").counts.order == 2
    assert_refused(
        charlm("train", corpus, "-m", tmp_path / "p", "--counts-from", "-"), 2, "counts-from"
    )
    facts = json.loads(charlm("info", "-m", tmp_path / "n", "--json").stdout)
    assert (facts["counts_file"], facts["counted_tokens"]) == ("c.arpa", None)


def test_a_back_off_of_minus_99_is_small_and_not_nothing(tmp_path):
    """As other programs write it after a context that they have seen with one token alone."""
    (tmp_path / "ab.txt").write_text("ab\naa\nba\n" * 30)
    (tmp_path / "z.arpa").write_text(
        "\\data\\\nngram 1=5\nngram 2=1\n\n\\1-grams:\n-99\t<s>\t-99\n-0.60206\t</s>\n-99\t<unk>\n"
        "-0.60206\ta\t0\n-0.30103\tb\n\n\\2-grams:\n0\t<s> a\n\n\\end\\\n"
    )
    given = [
        "train",
        tmp_path / "ab.txt",
        "-m",
        tmp_path / "m",
        "--counts-from",
        tmp_path / "z.arpa",
    ]
    for more in (["--layers", 0], [*SMALL, "--force"]):
        with warnings.catch_warnings(action="error"):
            done = charlm(*given, *more)
            assert done.exit_code == 0, done.stderr
            scored = json.loads(charlm("score", "-m", tmp_path / "m", "--json", "b").stdout)
        assert scored["logprob"] < -1


def test_fine_tuning_counts_the_new_text_alone(trained, tmp_path):
    (tmp_path / "new.txt").write_text(LINES.replace("a", "z"))
    done = charlm(
        "train", tmp_path / "new.txt", "-m", tmp_path / "n", "--init-from", trained, "--steps", 5
    )
    assert done.exit_code == 0, done.stderr
    assert "counts: of the new text alone" in done.stderr
    model = load(tmp_path / "n")
    ids = model.tokenizer.encode("az")
    counts = alone(model).next_tokens("")
    assert counts["z"] > 0.1 > counts["a"]
    assert len(ids) == 2
