"""Counts of labels: each label's own n-grams beside those of all texts, and what of both is
blended."""

import itertools
import json
import random

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm import counted as counting
from charlm.config import NO_TOKEN, TextConfig
from charlm.counted import counted, counted_by_label
from charlm.counts.kneser_ney import count_text
from charlm.counts.labelled import SHARES, LabelCounts, counts_of_tensors
from charlm.engines.blend import GRID, BlendEngine, GridScorer, fitted
from charlm.engines.counts import CountsEngine
from charlm.errors import DataError
from charlm.language import Language
from charlm.scoring import evaluate
from charlm.text.label_names import Labels
from charlm.text.labelled import prepare_labelled
from charlm.text.labelled_ids import ConditionalCorpus
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS
from tests.test_commands import charlm as run
from tests.test_labelled_models import SHORT, pairs, written
from tests.test_training import train
from tests.tiny import tiny_labelled

ORDER = 4


def both_ways(count=90, seed=0):
    """Return labels and texts whose letters follow each other as in all texts, or are their
    label's."""
    draw, favourite = random.Random(seed), {"one": "ace", "two": "bdf", "six": "fgh"}
    texts = []
    for _ in range(count):
        label, letters = draw.choice([*favourite]), ["a"]
        for _ in range(draw.randint(1, 9)):
            after = "abcdefgh"[(ord(letters[-1]) - ord("a") + 3) % 8]
            letters.append(after if draw.random() < 0.7 else draw.choice(favourite[label]))
        texts.append((label, "".join(letters)))
    return texts


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = written(tmp_path_factory.mktemp("corpus") / "c.tsv", both_ways())
    return ConditionalCorpus.of(prepare_labelled([file], TextConfig(valid_fraction=0.3), "tab"))


@pytest.fixture(scope="module")
def counts(corpus):
    return counts_of(corpus)


def counts_of(corpus, tokens=10**9):
    names, of = corpus.labelled.names, tuple(corpus.labelled.train.counts.tolist())
    language = Language(corpus.tokenizer, "line", "sequence", Labels(names, of, "tab"))
    every = counted(corpus.train, ORDER, language, None, {})
    return counted_by_label(every, corpus.labelled.train, ORDER, language, tokens)


def texts_of(part):
    numbers = np.arange(len(part))
    return list(zip(part.labels(numbers).tolist(), part.texts(numbers), strict=True))


def by_itself(table, ids):
    """Return p of the ids of one text and its EOS, by a table of texts without labels."""
    inputs = np.array([[NO_TOKEN], *([one] for one in ids)], np.int32)
    nodes = table.walk(inputs, None, table.zero_state(1))
    return table.targets(nodes, np.append(ids, EOS).astype(np.int32)[:, None])[:, 0]


def test_what_is_said_of_a_text_is_a_blend_of_two_tables(corpus, counts):
    """However labels are mixed in a batch, and wherever it is cut."""
    size, texts = corpus.tokenizer.size, texts_of(corpus.labelled.train)
    every = count_text(corpus.train, size, ORDER, EOS)
    own = [
        count_text(
            Part.from_ids(np.concatenate([[*ids, EOS] for k, ids in texts if k == label])),
            size, ORDER, EOS,
        )
        for label in range(3)
    ]  # fmt: skip
    valid = texts_of(corpus.labelled.valid)[:24]
    columns = [valid[:8], valid[8:16], valid[16:]]
    inputs = [[one for k, ids in of for one in (size + k, *ids)] for of in columns]
    targets = [[one for _, ids in of for one in (*ids, EOS)] for of in columns]
    expected = [
        np.concatenate(
            [0.75 * by_itself(every, ids) + 0.25 * by_itself(own[k], ids) for k, ids in of]
        )
        for of in columns
    ]
    steps = min(map(len, inputs))
    inputs, targets = (
        np.array([row[:steps] for row in rows], np.int32).T for rows in (inputs, targets)
    )
    table = LabelCounts(every, own, 0.25)
    for length in (1, 5, steps):
        state, found = table.zero_state(3), []
        for start in range(0, steps, length):
            piece = slice(start, start + length)
            nodes = table.walk(inputs[piece], None, state)
            state = nodes[-1]
            found.append(table.targets(nodes, targets[piece]))
            by_token = table.distribution(nodes.reshape(-1, 2))
            assert by_token.sum(axis=1) == pytest.approx(1, abs=1e-5)
            rows = np.arange(len(by_token))
            assert (by_token[rows, targets[piece].reshape(-1)] == found[-1].reshape(-1)).all()
        together = np.concatenate(found).T
        assert together == pytest.approx(np.array([row[:steps] for row in expected]), rel=1e-12)
    counts.share = 0.25
    nodes = counts.walk(inputs, None, counts.zero_state(3))
    assert counts.targets(nodes, targets) == pytest.approx(np.concatenate(found), rel=1e-12)


def test_only_the_beginning_is_counted_and_of_each_label_a_text(corpus):
    first = {}
    for label, ids in texts_of(corpus.labelled.train):
        first.setdefault(label, ids)
    table = counts_of(corpus, tokens=1)
    table.share = 1.0
    for label, ids in first.items():
        inputs = np.array([[corpus.tokenizer.size + label], *([one] for one in ids)], np.int32)
        nodes = table.walk(inputs, None, table.zero_state(1))
        found = table.targets(nodes, np.append(ids, EOS).astype(np.int32)[:, None])[:, 0]
        alone = count_text(Part.from_ids([*ids, EOS]), corpus.tokenizer.size, ORDER, EOS)
        assert found == pytest.approx(by_itself(alone, ids), rel=1e-12)


def test_labels_are_gathered_a_few_at_a_time_and_texts_in_blocks(corpus, counts, monkeypatch):
    monkeypatch.setattr(counting, "_OPEN", 2)
    monkeypatch.setattr(counting, "_TEXTS", 7)
    found = counts_of(corpus).tensors()
    assert all((found[name] == value).all() for name, value in counts.tensors().items())


def test_weight_and_share_are_the_best_of_all(corpus, counts):
    model = tiny_labelled(tokens=corpus.tokenizer.to_dict()["tokens"], names=("a", "b", "c"))
    grid = GridScorer(model.trained, counts, 0.0)
    tally = fitted(evaluate(grid, corpus.valid, model.language.running, False))
    nats = {}
    for share, weight in itertools.product(SHARES, GRID.tolist()):
        counts.share = share
        engine = BlendEngine(model.trained, counts, weight) if weight < 1 else CountsEngine(counts)
        nats[share, weight] = evaluate(engine, corpus.valid, model.language.running, False).nats
    best = min(nats, key=nats.get)
    assert (tally.sums["share"], tally.sums["weight"]) == best
    assert best[0] not in (0.0, 1.0)
    assert tally.nats == pytest.approx(nats[best], rel=1e-9)
    assert tally.sums["counts_nats"] == pytest.approx(nats[best[0], 1.0], rel=1e-9)
    assert tally.sums["network_nats"] == pytest.approx(nats[0.5, 0.0], rel=1e-9)


def test_a_run_has_them_in_its_file_and_its_log(tmp_path):
    file = written(tmp_path / "c.tsv", pairs())
    course = train(tmp_path / "m", {"corpus": (file,), **SHORT})
    model = charlm.load(tmp_path / "m", threads=1)
    assert isinstance(model.counts, LabelCounts)
    last = json.loads((tmp_path / "m" / "log.jsonl").read_text().splitlines()[-1])
    assert model.facts["counts_share"] == model.counts.share == last["counts_share"]
    evaluated = evaluate(model.engine, course.corpus.valid, model.language.running, False)
    assert evaluated.mean == pytest.approx(model.facts["valid_nats"], rel=1e-9)


def test_the_counts_of_a_file_are_those_that_were_written(counts, corpus):
    again = counts_of_tensors(counts.tensors(), counts.facts(), corpus.tokenizer.size, 3)
    assert isinstance(again, LabelCounts)
    assert again.facts() == counts.facts()
    assert again.ngrams() == counts.ngrams()
    assert again.nbytes == counts.nbytes
    language = tiny_labelled().language.running
    assert (
        evaluate(CountsEngine(again), corpus.valid, language, False).nats
        == evaluate(CountsEngine(counts), corpus.valid, language, False).nats
    )


def test_what_is_exported_are_the_counts_of_all_texts(tmp_path, counts, corpus):
    model = tiny_labelled(tokens=corpus.tokenizer.to_dict()["tokens"], names=("a", "b", "c"))
    every = count_text(corpus.train, corpus.tokenizer.size, ORDER, EOS)
    said = []
    for name, table in (("all", every), ("own", counts)):
        held = type(model)(model.trained, model.config, model.language, {"run": "x"}, table)
        held.save(tmp_path / name)
        said.append(run("export", "-m", tmp_path / name, "-"))
    assert said[0].stdout == said[1].stdout
    assert "\\data\\" in said[1].stdout
    assert said[1].stderr == (
        "charlm: the counts of all texts, without those of each label's own\n"
    )


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("share", 2),
        ("share", None),
        ("share", "0.5"),
        ("own", []),
        ("own", "3"),
        ("own", lambda own: own[:2]),
        ("own", lambda own: [*own, own[0]]),
        ("own", lambda own: [[own[0][0], own[0][1] + 1, own[0][2]], *own[1:]]),
        ("own", lambda own: [[9, *own[0][1:]], *own[1:]]),
        ("own", lambda own: [[0, *own[0][1:]], *own[1:]]),
        ("own.p", lambda p: p[:-1]),
        ("own.p", lambda p: p * 2),
        ("own.token", lambda token: token[::-1].copy()),
        ("own.children", lambda children: children.astype(float)),
        ("own.backoff", None),
    ],
)
def test_damaged_counts_are_refused(counts, corpus, what, value):
    tensors, facts = counts.tensors(), counts.facts()
    within = tensors if what in tensors else facts
    within[what] = value(within[what]) if callable(value) else value
    if within[what] is None and within is tensors:
        del tensors[what]
    with pytest.raises(DataError, match="counts"):
        counts_of_tensors(tensors, facts, corpus.tokenizer.size, 3)


def test_counts_of_other_labels_are_refused(tmp_path, counts, corpus):
    tokens = corpus.tokenizer.to_dict()["tokens"]
    for name, labels in (("two", ("a", "b")), ("three", ("a", "b", "c"))):
        model = tiny_labelled(tokens=tokens, names=labels, counts=(1,) * len(labels))
        held = type(model)(model.trained, model.config, model.language, {"run": "x"}, counts)
        checkpoint.save(tmp_path / f"{name}.safetensors", held.tensors(), held.metadata())
    charlm.load(tmp_path / "three.safetensors")
    with pytest.raises(DataError, match="not as many"):
        charlm.load(tmp_path / "two.safetensors")
