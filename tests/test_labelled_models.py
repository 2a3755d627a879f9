"""Language models of labelled texts: what they learn, score and write, and what is refused."""

import itertools
import json
import math
import pickle
import random

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm.config import ModelConfig, TextConfig
from charlm.counts.kneser_ney import count_text
from charlm.counts.labelled import LabelCounts
from charlm.errors import DataError, UsageError
from charlm.labelled import LabelledModel, rebuilt
from charlm.nn.model import LanguageModel, shapes
from charlm.nn.params import Params
from charlm.nn.stack import zero_state
from charlm.sampling import SamplingConfig
from charlm.scoring import evaluate
from charlm.text.batches import Batch, TrainingBatches
from charlm.text.labelled import prepare_labelled
from charlm.text.labelled_ids import ConditionalCorpus, LabelledIds
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS
from tests.test_commands import assert_refused
from tests.test_commands import charlm as run
from tests.test_gradients import check
from tests.test_training import TINY, assert_same, outcome, train
from tests.tiny import tiny_classifier, tiny_labelled

NAMES = ("no", "yes", "so")
COUNTED = [False, True, "by label"]
TEXTS = ["", "a", "ab", "bba", "abab", "bbbbb"]
SHORT = {"labels": "tab", "steps": 25, "valid_fraction": 0.25, **TINY}
PLAIN = {
    "counts": 0,
    "steps": 200,
    "hidden": 16,
    "batch_size": 16,
    "dropout": 0.0,
    "lr": 0.03,
    "optimizer": "adam",
}


def tiny(seed=0, counts=False, **shape):
    """Return a model over `a` and `b` with three labels and random weights, far from uniform;
    `counts` may be "by label"."""
    model = tiny_labelled(seed=seed, **shape)
    if not counts:
        return model
    table = counted_texts(model, TEXTS)
    if counts == "by label":
        table = LabelCounts(table, [counted_texts(model, TEXTS[k::3]) for k in range(3)], 0.75)
    return LabelledModel(model.trained, model.config, model.language, model.facts, table)


def counted_texts(model, texts):
    """Return the counts of texts, without labels."""
    ids = np.concatenate([[*model.tokenizer.encode(text), EOS] for text in texts])
    return count_text(Part.from_ids(ids), model.tokenizer.size, 3, EOS)


def pairs(count=200, seed=0):
    """Return labels and texts: a text of label `x` has the letters of that label alone."""
    draw = random.Random(seed)
    letters = {"low": "abc", "mid": "pqr", "top": "xyz"}
    chosen = (draw.choice([*letters]) for _ in range(count))
    return [(one, "".join(draw.choices(letters[one], k=draw.randint(1, 7)))) for one in chosen]


def written(path, of):
    path.write_text("".join(f"{label}\t{text}\n" for label, text in of))
    return str(path)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Return a directory with a corpus and a model of it, counts and all."""
    path = tmp_path_factory.mktemp("room")
    train(path / "m", {"corpus": (written(path / "corpus.tsv", pairs()),), **SHORT})
    return path


# --- the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [{}, {"embedding": 0}, {"layers": 2, "cell": "lstm"}], ids=str)
def test_a_label_is_learnt_by_its_gradient(shape):
    config = ModelConfig(4, beginnings=2, **{"hidden": 3, "embedding": 3} | shape)
    params = Params(shapes(config), np.float64)
    params.flat[...] = np.random.default_rng(0).standard_normal(len(params.flat))
    inputs = np.array([[4, 5, 5], [2, 3, 2], [3, 4, 2]], np.int32)
    reset = np.array([[1, 1, 1], [0, 0, 0], [0, 1, 0]], bool)
    batch = Batch(
        inputs,
        np.array([[2, 3, 0], [3, 0, 1], [0, 2, 2]], np.int32),
        reset,
        np.ones((3, 3), np.float32),
    )
    state = zero_state(config, 3, np.float64)

    def nats():
        return LanguageModel(config).backward(params, params.twin(), batch, state, 1.0)[0]

    grads = params.twin()
    LanguageModel(config).backward(params, grads, batch, state, 1.0)
    check(nats, params, grads)


def test_a_model_whose_label_decides_is_learnt_to_its_entropy(tmp_path):
    """Texts are a letter that only the label tells, then one of two: a coin in three tokens, EOS
    with them."""
    corpus = [
        (one, one[0] + second) for one in ("axe", "bee", "cow", "dog") for second in "xy"
    ] * 25
    file = written(tmp_path / "corpus.tsv", corpus)
    given = {"corpus": (file,), "valid_file": file, "labels": "tab", **PLAIN}
    train(tmp_path / "m", {**given, **TINY, **PLAIN})
    assert charlm.load(tmp_path / "m").facts["valid_nats"] == pytest.approx(
        math.log(2) / 3, abs=0.01
    )


# --- parts and batches ----------------------------------------------------------------------------


def test_parts_are_those_of_a_classifier(tmp_path):
    file = written(tmp_path / "corpus.tsv", pairs())
    given = {"corpus": (file,), "steps": 1, "valid_fraction": 0.2, "test_fraction": 0.2, **TINY}
    texts = train(tmp_path / "texts", {**given, "labels": "tab"}).corpus
    del given["seq_len"]
    classes = train(tmp_path / "classes", {**given, "task": "classify"}).corpus
    assert texts.digests == classes.digests
    assert len(texts.valid) > 100


def test_every_text_begins_with_its_label(tmp_path):
    """Over an epoch, wherever columns are cut and go round, its letters tell which label that must
    be."""
    corpus = ConditionalCorpus.of(
        prepare_labelled([written(tmp_path / "c.tsv", pairs())], TextConfig())
    )
    size, names = corpus.tokenizer.size, corpus.labelled.names
    batches = TrainingBatches(
        corpus.train, 4, 16, 0, tiny().language.running, corpus.train.sequences
    )
    begun = 0
    for batch in batches.epoch(0):
        for step, column in np.argwhere(batch.reset).tolist():
            first = corpus.tokenizer.token(int(batch.targets[step, column]))
            label = names[batch.inputs[step, column] - size]
            assert first in {"low": "abc", "mid": "pqr", "top": "xyz"}[label]
            begun += 1
    assert begun >= corpus.train.sequences
    inside = np.concatenate([batch.inputs[~batch.reset] for batch in batches.epoch(0)])
    assert inside.max() < size


def test_a_label_that_training_has_not_is_left_out_of_the_figures(tmp_path):
    file, more = written(tmp_path / "c.tsv", pairs()), [("low", "ab"), ("new", "ab"), ("top", "y")]
    corpus = prepare_labelled([file], TextConfig(), valid_files=[written(tmp_path / "v.tsv", more)])
    valid = ConditionalCorpus.of(corpus).valid
    a, b, y = (corpus.tokenizer.encode(letter)[0] for letter in "aby")
    assert valid.read(0, len(valid)).tolist() == [a, b, EOS, y, EOS]
    assert (valid.firsts(0, len(valid)) - corpus.tokenizer.size).tolist() == [0, 0, 0, 2, 2]


# --- scores and texts -----------------------------------------------------------------------------


@pytest.mark.parametrize("counts", COUNTED)
@pytest.mark.parametrize("shape", [{}, {"embedding": 0}, {"cell": "lstm", "layers": 2}], ids=str)
def test_a_part_scores_what_its_texts_do(counts, shape):
    """What validation reads in one go, with labels mixed, is the sum of the texts, each under its
    label."""
    model = tiny(counts=counts, **shape)
    mixed = list(itertools.product(NAMES, TEXTS))
    random.Random(1).shuffle(mixed)
    ids = [[*model.tokenizer.encode(text), EOS] for _, text in mixed]
    firsts = [
        [model.tokenizer.size + NAMES.index(label)] * len(of)
        for (label, _), of in zip(mixed, ids, strict=True)
    ]
    stored = LabelledIds.in_memory(np.concatenate(ids), np.concatenate(firsts))
    scores = [model.score(text, label=label) for label, text in mixed]
    total = sum(map(float, scores))
    assert evaluate(model.engine, stored, model.language.running, False).nats == pytest.approx(
        -total, rel=1e-6
    )
    assert list(map(float, model.scores_given(mixed))) == pytest.approx(
        list(map(float, scores)), rel=1e-6
    )
    assert len({round(float(model.score("ab", label=name)), 3) for name in NAMES}) == 3


@pytest.mark.parametrize("counts", COUNTED)
def test_what_is_written_has_the_score_that_it_says(counts):
    model = tiny(counts=counts)
    for name in NAMES:
        drawn = list(model.samples(8, SamplingConfig(length=30), seed=1, label=name))
        ended = [sample for sample in (*drawn, *model.given(name).beam(3)) if sample.ended == "eos"]
        assert ended
        for sample in ended:
            assert sample.logprob == pytest.approx(
                float(model.score(sample.text, label=name)), rel=1e-5
            )


def test_texts_of_a_label_are_of_that_label(tmp_path):
    file = written(tmp_path / "c.tsv", pairs(400))
    train(tmp_path / "m", {"corpus": (file,), **SHORT, **PLAIN})
    model = charlm.load(tmp_path / "m", threads=1)
    for name, letters in (("low", "abc"), ("mid", "pqr"), ("top", "xyz")):
        texts = [sample.text for sample in model.samples(50, seed=1, label=name)]
        assert sum(not set(text) - set(letters) for text in texts) >= 45


@pytest.mark.parametrize("prior", ["training", "uniform"])
def test_labels_are_weighed_by_bayes(prior):
    model, weights = (
        tiny(counts=True),
        {"training": (3 / 6, 2 / 6, 1 / 6), "uniform": (1 / 3,) * 3}[prior],
    )
    for answer in model.predict(TEXTS, top=3, prior=prior):
        joint = [math.exp(float(model.score(answer.text, label=name))) for name in NAMES]
        joint = [weight * p for weight, p in zip(weights, joint, strict=True)]
        expected = {name: p / sum(joint) for name, p in zip(NAMES, joint, strict=True)}
        assert dict(answer.labels) == pytest.approx(expected, rel=1e-5)
        assert [*answer.labels] == sorted(answer.labels, key=lambda pair: -pair[1])
        assert answer.surprise == pytest.approx(
            -math.log(sum(joint)) / (len(answer.text) + 1), rel=1e-6
        )
        assert model.probabilities(answer.text, prior) == pytest.approx(expected, rel=1e-5)
    few = [
        dict(answer.labels) for answer in model.predict(TEXTS, top=3, threshold=0.4, prior=prior)
    ]
    assert all(p >= 0.4 for labels in few for p in labels.values())
    assert any(len(labels) < 3 for labels in few)


@pytest.mark.parametrize("counts", COUNTED)
def test_without_a_label_labels_are_summed_out(counts):
    """Of a text with tokens that are not known too, of which each has what the sums up to it and
    before it leave."""
    model, prior = tiny(counts=counts), np.log([3 / 6, 2 / 6, 1 / 6])
    texts = [*TEXTS, "a?", "?", "b?b?a"]
    for eos in (True, False):
        for text, score in zip(texts, model.scores(texts, eos), strict=True):
            each = [model.score(text, eos, per_token=True, label=name).per_token for name in NAMES]
            upto = [
                np.logaddexp.reduce(prior + [sum(t.logprob for t in of[:k]) for of in each])
                for k in range(len(each[0]) + 1)
            ]
            unknown = [k for k, token in enumerate(each[0]) if token.unknown]
            assert score.logprob == pytest.approx(upto[-1], rel=1e-6, abs=1e-9)
            assert (score.tokens, score.unknown) == (len(each[0]), len(unknown))
            assert score.unknown_logprob == pytest.approx(
                sum(upto[k + 1] - upto[k] for k in unknown), rel=1e-6
            )
    uniform = np.logaddexp.reduce([float(model.score("ab", label=name)) for name in NAMES])
    assert float(model.weighed("uniform").score("ab")) == pytest.approx(uniform - math.log(3))
    with pytest.raises(UsageError, match="prior must be one of"):
        model.weighed("none")


def test_a_label_lives_in_a_view_of_the_model():
    model = tiny(counts=True)
    view = model.given("yes")
    assert float(view.score("ab")) == float(model.score("ab", label="yes"))
    assert view.sample(20, seed=1) == model.sample(20, seed=1, label="yes")
    assert "".join(model.stream(20, seed=1, label="yes")) == view.sample(20, seed=1)
    for copy in (
        pickle.loads(pickle.dumps(view)),
        view.without_counts(),
        rebuilt(view.tensors(), view.metadata()),
    ):
        assert isinstance(copy, LabelledModel)
    assert float(pickle.loads(pickle.dumps(view)).score("ab")) == float(view.score("ab"))
    assert view.metadata() == model.metadata()
    assert repr(model) == "<LabelledModel of 3 labels: no, yes, so>"


def test_a_model_to_start_from_is_where_it_was(tmp_path):
    """Each label begins as the zero vector, so that at first no label changes anything."""
    plain = tmp_path / "plain.txt"
    plain.write_text("".join(f"{text}\n" for _, text in pairs()))
    for name, more in (("e", {}), ("o", {"embedding": 0})):
        first = {"corpus": (str(plain),), "steps": 5, "counts": 0, **TINY, **more}
        train(tmp_path / name, first)
        labelled = {
            "corpus": (written(tmp_path / "c.tsv", pairs()),),
            "labels": "tab",
            "init_from": tmp_path / name,
        }
        given = {
            "steps": 1,
            "lr": 1e-12,
            "counts": 0,
            "batch_size": 4,
            "seq_len": 8,
            "weight_decay": 0.0,
        }
        train(tmp_path / f"{name}2", {**labelled, **given, "init_from": str(tmp_path / name)})
        before, after = charlm.load(tmp_path / name), charlm.load(tmp_path / f"{name}2")
        for label in after.labels:
            assert float(after.score("abc", label=label)) == pytest.approx(
                float(before.score("abc")), rel=1e-5
            )


def test_a_run_goes_on_to_the_bit(tmp_path):
    given = {"corpus": (written(tmp_path / "c.tsv", pairs()),), **SHORT}
    train(tmp_path / "one", given)
    train(tmp_path / "two", given, stop_at=11)
    train(tmp_path / "two", {}, resume=True)
    assert_same(outcome(tmp_path / "one"), outcome(tmp_path / "two"))


def test_torch_learns_and_says_the_same(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    given = {"corpus": (written(tmp_path / "c.tsv", pairs()),), **SHORT, "dropout": 0.0}
    train(tmp_path / "numpy", given)
    train(tmp_path / "torch", given | {"engine": "torch", "device": "cpu"})
    one, other = (charlm.load(tmp_path / name) for name in ("numpy", "torch"))
    assert other.facts["valid_nats_network"] == pytest.approx(
        one.facts["valid_nats_network"], rel=1e-3
    )
    again = charlm.load(tmp_path / "torch", engine="torch", device="cpu")
    for label, text in pairs(10, seed=1):
        assert float(again.score(text, label=label)) == pytest.approx(
            float(other.score(text, label=label)), rel=1e-5
        )


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_and_scores_texts_of_a_label(room):
    model = charlm.load(room / "m", threads=1)
    texts = run("sample", "-m", room / "m", "--label", "mid", "-n", "3", "--seed", "1").stdout
    assert texts.splitlines() == [sample.text for sample in model.samples(3, seed=1, label="mid")]
    one = run("score", "-m", room / "m", "--label", "mid", "--json", "pqr")
    assert json.loads(one.stdout)["logprob"] == pytest.approx(
        float(model.score("pqr", label="mid"))
    )
    lines = run("score", "-m", room / "m", "-", "--json", stdin="mid\tpqr\nlow\tabc\n")
    found = [json.loads(line)["logprob"] for line in lines.stdout.splitlines()]
    expected = [
        float(model.score(text, label=label)) for label, text in (("mid", "pqr"), ("low", "abc"))
    ]
    assert found == pytest.approx(expected, rel=1e-6)


def test_texts_of_a_file_or_of_stdin_all_have_the_label_that_is_given(room, tmp_path):
    """The tab is a character of a text then, which these models do not know."""
    expected = [float(charlm.load(room / "m").score(text, label="mid")) for text in ("pqr", "abc")]
    ask = ["score", "-m", room / "m", "--label", "mid", "--json"]
    (tmp_path / "f").write_text("pqr\nabc\n")
    for asked in (run(*ask, "-", stdin="pqr\nabc\n"), run(*ask, "--file", tmp_path / "f")):
        found = [json.loads(line)["logprob"] for line in asked.stdout.splitlines()]
        assert found == pytest.approx(expected, rel=1e-6)
    (one,) = run(*ask, "-", stdin="low\tpqr\n").stdout.splitlines()
    assert json.loads(one)["text"] == "low\tpqr"
    both = json.loads(run(*ask, "-m", room / "m", "-", stdin="pqr\n").stdout.splitlines()[0])
    assert both["logprob"] == pytest.approx(expected[:1] * 2, rel=1e-6)


def test_the_command_finds_labels(room):
    lines = run(
        "predict", "-m", room / "m", "-", "--json", "--prior", "uniform", stdin="pqr\nxyz\n\n"
    )
    found = [json.loads(line) for line in lines.stdout.splitlines()]
    answers = list(charlm.load(room / "m").predict(["pqr", "xyz", ""], prior="uniform"))
    assert [one["text"] for one in found] == ["pqr", "xyz", ""]
    assert [(one["label"], one["surprise"]) for one in found] == [
        (answer.label, pytest.approx(answer.surprise, rel=1e-6)) for answer in answers
    ]


def test_how_a_text_surprises_is_told_beside_the_validation_texts(room):
    model = charlm.load(room / "m", threads=1)
    part = prepare_labelled([str(room / "corpus.tsv")], TextConfig(valid_fraction=0.25)).valid
    texts = [model.tokenizer.decode(ids.tolist()) for ids in part.texts(np.arange(len(part)))]
    usual = [-float(model.score(text, True)) / (len(text) + 1) for text in texts]
    assert model.facts["valid_surprise"] == pytest.approx(
        np.quantile(usual, np.arange(101) / 100), rel=1e-6
    )
    given = ["pqr", "zzzzzz", "????"]
    lines = run("predict", "-m", room / "m", "--json", *given).stdout.splitlines()
    for text, line in zip(given, map(json.loads, lines), strict=True):
        assert line["surprise"] == pytest.approx(
            -float(model.score(text, True)) / (len(text) + 1), rel=1e-6
        )
        share = 100 * np.mean(np.array(usual) < line["surprise"])
        assert line["percentile"] == pytest.approx(share, abs=3)
    assert line["percentile"] == 100
    table = run("predict", "-m", room / "m", "--tsv", "--top", "2", "pqr").stdout.splitlines()
    assert table[0].split("\t")[4:] == ["surprise", "percentile", "text"]
    plain = run("predict", "-m", room / "m", "????").stdout.rstrip("\n").split("\t")
    assert plain[2:] == [f"{line['surprise']:.4f}", "100.0", "????"]


@pytest.mark.parametrize(
    "told", [[1.0], "x", None, [*range(100), 0], [*range(100), 10**400], ["1"] * 101]
)
def test_a_file_with_other_quantiles_is_refused(tmp_path, told):
    model = tiny()
    model.facts["valid_surprise"] = told
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(DataError, match="valid_surprise must be 101 numbers"):
        charlm.load(tmp_path / "m.safetensors")


def test_a_model_that_knows_of_no_validation_says_no_percentile(tmp_path):
    tiny().save(tmp_path / "m")
    line = json.loads(run("predict", "-m", tmp_path / "m", "ab", "--json").stdout)
    assert line["percentile"] is None
    assert run("predict", "-m", tmp_path / "m", "ab").stdout.split("\t")[3] == "-"


@pytest.mark.parametrize("prior", ["training", "uniform"])
def test_gold_texts_are_judged_by_bayes(tmp_path, prior):
    """With a label that the model has not: wrong, and without nats."""
    tiny(counts=True).save(tmp_path / "m")
    model = charlm.load(tmp_path / "m", threads=1)
    draw = random.Random(3)
    gold = [(draw.choice([*NAMES, "odd"]), draw.choice(TEXTS[1:])) for _ in range(60)]
    file = written(tmp_path / "gold.tsv", gold)
    found = json.loads(run("test", "-m", tmp_path / "m", file, "--json", "--prior", prior).stdout)
    said = [model.probabilities(text, prior) for _, text in gold]
    right = [label == next(iter(p)) for (label, _), p in zip(gold, said, strict=True)]
    nats = [-math.log(p[label]) for (label, _), p in zip(gold, said, strict=True) if label in p]
    assert found["accuracy"] == np.mean(right)
    assert found["nats"] == pytest.approx(np.mean(nats), rel=1e-6)
    assert found["majority"] == np.mean([label == "no" for label, _ in gold])
    assert (found["texts"], found["unseen"], found["cut"]) == (60, 60 - len(nats), 0)
    table = run("test", "-m", tmp_path / "m", file, "--prior", prior).stdout
    assert table.startswith("majority ")
    assert "odd" in table


def test_a_classifier_and_a_language_model_are_compared(tmp_path):
    tiny().save(tmp_path / "m")
    tiny_classifier(tokens="ab", names=NAMES).save(tmp_path / "c")
    file = written(tmp_path / "gold.tsv", [("yes", "ab"), ("no", "b"), ("so", "aab")] * 5)
    models = [each for name in "mc" for each in ("-m", tmp_path / name)]
    both = json.loads(run("test", *models, file, "--json").stdout)
    for name, one in zip("mc", both["models"], strict=True):
        alone = json.loads(run("test", "-m", tmp_path / name, file, "--json").stdout)
        assert one == {"model": str(tmp_path / name)} | alone
    assert_refused(
        run("test", "-m", tmp_path / "c", file, "--prior", "uniform"), 2, "leave --prior out"
    )


def test_the_validation_figure_comes_back(room):
    facts = json.loads(run("info", "-m", room / "m", "--json").stdout)
    for corpus in (["valid"], [room / "valid.tsv"]):
        if corpus != ["valid"]:
            part = prepare_labelled(
                [str(room / "corpus.tsv")], TextConfig(valid_fraction=0.25)
            ).valid
            numbers = np.arange(len(part))
            tokenizer = charlm.load(room / "m").tokenizer
            texts = [tokenizer.decode(ids.tolist()) for ids in part.texts(numbers)]
            written(
                room / "valid.tsv",
                zip((part.names[k] for k in part.labels(numbers)), texts, strict=True),
            )
        found = json.loads(run("score", "-m", room / "m", "--corpus", *corpus, "--json").stdout)
        assert -found["logprob"] / found["tokens"] == pytest.approx(facts["valid_nats"], rel=1e-9)
    (room / "odd.tsv").write_text("new\tabc\n" + (room / "valid.tsv").read_text())
    odd = run("score", "-m", room / "m", "--corpus", room / "odd.tsv", "--json")
    assert json.loads(odd.stdout)["logprob"] == found["logprob"]
    assert odd.stderr == "charlm: 1 text has a label that the model has not: left out\n"
    assert (facts["task"], facts["labels_from"]) == ("lm", "tab")
    assert sum(one["texts"] for one in facts["labels"]) < 200
    assert "labels" in run("info", "-m", room / "m").stdout


def test_what_is_copied_is_found_in_the_texts_alone(room):
    result = run(
        "sample",
        "-m",
        room / "m",
        "--label",
        "low",
        "-n",
        "3",
        "--seed",
        "1",
        "--novelty",
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    assert all(
        "\t" not in json.loads(line)["longest_copied_run"] for line in result.stdout.splitlines()
    )


def test_what_cannot_be_is_refused_in_a_line(room):
    m, corpus = room / "m", room / "corpus.tsv"
    assert_refused(run("sample", "-m", m, "--label", "mod"), 2, "no label 'mod'", "mid")
    assert_refused(run("sample", "-m", m), 2, "say with --label which one", "low, mid, top")
    assert_refused(run("score", "-m", m, "x", "--per-token"), 2, "say with --label which one")
    assert_refused(run("score", "-m", m, "x", "--label", "hgih"), 2, "no label 'hgih'", "top")
    assert_refused(run("score", "-m", m, "--corpus", "valid", "--nbest"), 2, "--nbest")
    assert_refused(run("predict", "-m", m, "x", "--columns"), 2, "leave --columns out")
    begin = ["train", corpus, "-m", room / "new", "--labels", "tab"]
    assert_refused(run(*begin, "--layers", "0"), 2, "counts alone do not know")
    assert_refused(run(*begin, "--context", "stream"), 2, "context stream does not go with labels")
    assert_refused(run(*begin, "--tie"), 2, "tie does not go with labels")
    assert_refused(
        run(*begin, "--sequences", "document"), 2, "sequences document does not go with labels"
    )
    assert_refused(run(*begin, "--init-from", m), 2, "labelled", "charlm sample")
    assert not (room / "new" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({"names": ["no", "yes"], "counts": [1, 2]}, "not as many"),
        ({"names": ["no", "no", "so"]}, "different labels"),
        ({"names": ["no", "a\x1b[2J", "so"]}, "no text could have had"),
        ({"names": "nys"}, "list of texts"),
        ({"counts": [1, 2, -3]}, "a count for each"),
        ({"form": "nowhere"}, "form"),
        ({"more": 1}, "exactly"),
        (None, "needs labels|not as many"),
    ],
    ids=str,
)
def test_a_file_with_other_labels_is_refused(tmp_path, what, why):
    model = tiny()
    metadata = model.metadata()
    vocabulary = json.loads(metadata["charlm.vocabulary"])
    if what is None:
        del vocabulary["labels"]
    else:
        vocabulary["labels"] |= what
    damaged = {**metadata, "charlm.vocabulary": json.dumps(vocabulary)}
    checkpoint.save(tmp_path / "m.safetensors", model.tensors(), damaged)
    with pytest.raises(DataError, match=why):
        charlm.load(tmp_path / "m.safetensors")


def test_a_plain_model_with_labels_is_refused(tmp_path):
    model = tiny()
    plain = {name: value for name, value in model.metadata().items() if name != "charlm.task"}
    checkpoint.save(tmp_path / "m.safetensors", model.tensors(), plain)
    with pytest.raises(DataError, match="task"):
        charlm.load(tmp_path / "m.safetensors")
    assert model.metadata()["charlm.format"] == "2"


def test_labels_and_tied_weights_do_not_go_together():
    with pytest.raises(UsageError, match="tie does not go with labels"):
        ModelConfig(5, beginnings=2, hidden=4, embedding=4, tie=True)


# --- files of one label ---------------------------------------------------------------------------


def test_several_files_have_one_label(tmp_path):
    """As if they were one file of that name; on resume, and when the run's corpus is read again."""
    lines = [f"{'abc'[k % 3]}{'xyz'[k % 2]}\n" for k in range(90)]
    for folder, files in (
        ("one", {"low": lines[:60]}),
        ("two", {"p": lines[:30], "q": lines[30:60]}),
    ):
        (tmp_path / folder).mkdir()
        for name, some in (files | {"top": lines[60:]}).items():
            (tmp_path / folder / f"{name}.txt").write_text("".join(some))
    whole = {"corpus": tuple(str(tmp_path / "one" / name) for name in ("top.txt", "low.txt"))}
    top, parts = tmp_path / "two" / "top.txt", [f"low={tmp_path / 'two' / n}.txt" for n in "pq"]
    given = SHORT | {"labels": "file"}
    one = train(tmp_path / "a", given | whole)
    train(tmp_path / "b", given | {"corpus": (str(top),), "label": parts}, stop_at=11)
    two = train(tmp_path / "b", {}, resume=True)
    assert two.corpus.labelled.names == ("low", "top")
    assert two.model.language.labels == one.model.language.labels
    assert dict(two.corpus.digests) == dict(one.corpus.digests)
    scored = [
        json.loads(run("score", "-m", tmp_path / m, "--corpus", "valid", "--json").stdout)
        for m in "ab"
    ]
    assert scored[0]["tokens"] == scored[1]["tokens"] > 0
    again = ["train", "--config", tmp_path / "b" / "config.toml", "-m", tmp_path / "c", "-q"]
    assert run(*again).exit_code == 0
    assert charlm.load(tmp_path / "c").facts["digests"] == two.model.facts["digests"]


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["--label", "low"], 2, ["label must be NAME=FILE"]),
        (["--label", "=c.tsv"], 2, ["label must be NAME=FILE"]),
        (["--label", "low=-"], 2, ["read only once"]),
        (["--label", "low=none.txt"], 66, ["none.txt"]),
        (["--label", "low=c.tsv", "--label", "top=c.tsv"], 2, ["low and to top"]),
        (["--label", "low=c.tsv", "--labels", "tab"], 2, ["leave one out"]),
        (["--label", "low=c.tsv", "--task", "classify"], 2, ["leave it out"]),
        ([".", "--label", "low=c.tsv"], 2, ["name it once"]),
    ],
)
def test_a_label_that_names_no_files_is_refused(tmp_path, monkeypatch, given, code, words):
    written(tmp_path / "c.tsv", pairs())
    written(tmp_path / "d.tsv", pairs())
    monkeypatch.chdir(tmp_path)
    corpus = [] if given[0] == "." else ["d.tsv"]
    assert_refused(run("train", *corpus, *given, "-m", "m"), code, *words)
    assert not (tmp_path / "m").exists()
