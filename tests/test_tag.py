"""Runs that learn tags: what is learnt, what is kept, and all that a language model's run has
too."""

import dataclasses
import itertools
import json
import math
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm.bio import from_iob2, spans
from charlm.config import TextConfig
from charlm.directory import Directory
from charlm.errors import DataError, UsageError
from charlm.nn import kernel
from charlm.runs import open_run
from charlm.tag_metrics import TagFigures, tag_tally
from charlm.tagger import Tagger
from charlm.tags import Tags
from charlm.text.tagged import prepare_tagged
from tests.test_classify import assert_resumes_to_the_bit, outcome
from tests.test_commands import charlm as charlm_command
from tests.test_training import assert_same, train
from tests.tiny import COMPANY, tiny_restorer, tiny_tagger

TINY = {"hidden": 8, "embedding": 4, "char_hidden": 3, "batch_size": 8, "lr": 0.02, "threads": 2, "task": "tag",
        "dropout": 0.0, "token_dropout": 0.0, "min_count": 1, "ngrams": 0, "crf": False}  # fmt: skip
NAMES = [f"{a}{b}" for a in "ABC" for b in "aeiou"]


def sentences_of(seed=0, count=160):
    """Return sentences of (word, tag): a name is one after "in" and after a title, and a word like
    any other else."""
    rng = random.Random(seed)

    def piece():
        name, other = rng.choice(NAMES), rng.choice(["go", "by", "to", "it"])
        kind = rng.randrange(4)
        if kind == 0:
            return [
                ("mr", "B-per"),
                *((rng.choice(NAMES), "I-per") for _ in range(rng.randint(1, 2))),
                (other, "O"),
            ]
        if kind == 1:
            return [
                ("in", "O"),
                (name, "B-loc"),
                *([(rng.choice(NAMES), "B-loc")] if rng.random() < 0.3 else []),
            ]
        return [(other, "O"), *([(name, "O"), (other, "O")] if kind == 2 else [])]

    return [[row for _ in range(rng.randint(1, 4)) for row in piece()] for _ in range(count)]


def columns(sentences, scheme="IOB2", separator="\t"):
    """Return sentences as the lines of a file, their spans in a scheme."""
    written = []
    for sentence in sentences:
        tags = from_iob2([tag for _, tag in sentence], scheme)
        written += [
            f"{word}{separator}{tag}\n" for (word, _), tag in zip(sentence, tags, strict=True)
        ] + ["\n"]
    return "".join(written)


def pairs_of(seed=0, count=200):
    """Return (source, target): a vowel after a b has an accent, and a text ends with a mark."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        source = (
            "".join(
                rng.choice(["ba", "be", "da", "de", "a", " "]) for _ in range(rng.randint(1, 7))
            )
            + "x"
        )
        found.append((source, source.replace("ba", "bá").replace("be", "bé")[:-1] + "!"))
    return found


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.tsv"
    path.write_text(columns(sentences_of()))
    return str(path)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs_of()))
    return str(path)


def taught(tmp_path, corpus, **settings):
    """Return the tagger of a short run."""
    train(tmp_path / "m", {"corpus": (corpus,), "epochs": 2, **TINY, **settings})
    return charlm.load(tmp_path / "m")


# --- what is learnt -------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [
    {}, {"crf": True}, {"char_hidden": 0, "ngrams": 2, "cell": "lstm"}, {"embedding": 0, "head_layers": 1},
    {"tokenizer": "char", "char_hidden": 0, "hidden": 16, "cell": "simple-gru"},
], ids=str)  # fmt: skip
def test_it_learns_what_a_word_is_among_others(tmp_path, corpus, settings):
    """To the last tag of sentences that it has not seen."""
    run = train(tmp_path / "m", {"corpus": (corpus,), "epochs": 12, **TINY, "lr": 0.03, **settings})
    model = charlm.load(tmp_path / "m")
    assert isinstance(model, Tagger)
    figures = TagFigures(model.tally(run.corpus.valid), model.names, model.tags.common)
    assert figures.accuracy == figures.span_f1 == 1.0
    assert (figures.accuracy, figures.span_f1) == (
        model.facts["valid_accuracy"],
        model.facts["valid_span_f1"],
    )
    unseen = sentences_of(seed=9, count=40)
    for sentence, answer in zip(
        unseen, model.predict([[w for w, _ in s] for s in unseen]), strict=True
    ):
        assert answer.tags == tuple(tag for _, tag in sentence)
        assert list(answer.spans) == spans(answer.tags)


@pytest.mark.parametrize("settings", [{}, {"crf": True, "cell": "lstm"}], ids=str)
def test_it_learns_what_a_character_becomes(tmp_path, pairs, settings):
    given = {
        **TINY,
        "hidden": 12,
        "embedding": 8,
        "char_hidden": 0,
        "corpus": (pairs,),
        "epochs": 12,
        "lr": 0.03,
    }
    train(tmp_path / "m", given | settings)
    model = charlm.load(tmp_path / "m")
    assert model.names == ("", "!", "á", "é")
    assert model.facts["valid_accuracy"] == model.facts["valid_word_accuracy"] == 1.0
    assert model.facts["valid_span_f1"] is None
    unseen = pairs_of(seed=9, count=40)
    for (source, target), answer in zip(unseen, model.predict([s for s, _ in unseen]), strict=True):
        assert answer.text == target
        assert answer.tokens == tuple(source)
    (answer,) = model.predict(["ba\u00fcq bax"])  # what it has never seen is kept
    assert answer.text == "bá\u00fcq bá!"
    assert answer.unknown == 2


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_character_that_was_never_seen_is_kept_whatever_the_network_says(
    tmp_path, pairs, crf, threads, monkeypatch
):
    """In what is predicted and in what is tested, with a chain, too."""
    monkeypatch.setattr("charlm.engines.tagger.WORTH_SHARING", 0)  # threads share the least work
    given = {**TINY, "char_hidden": 0, "corpus": (pairs,), "steps": 1, "crf": crf}
    train(tmp_path / "m", given)
    model = charlm.load(tmp_path / "m", threads=threads)
    assert model.names[1] == "!"
    tensors = model.trained.tensors()
    tensors["head.bias"][1] = 1000.0
    model.trained.load(tensors)
    texts = ["ba\u00fcq bax", "ba", "\u65e5\u672c", ""]
    assert [answer.text for answer in model.predict(texts)] == [
        "!!\u00fcq!!!!", "!!", "\u65e5\u672c", "",
    ]  # fmt: skip
    gold = tmp_path / "gold.tsv"
    gold.write_text("b\u00fc\t!\u00fc\n\u00fcb\t\u00fc!\n", encoding="utf-8")
    corpus = prepare_tagged([str(gold)], TextConfig("char", valid_fraction=0.0), encoder=model.tags.encoder,
                            names=model.names)  # fmt: skip
    found = TagFigures(model.tally(corpus.train), model.names, 0)
    assert (found.right, found.tokens) == (4, 4)


@pytest.mark.parametrize("crf", [False, True])
def test_words_of_characters_are_those_that_white_space_parts(tmp_path, pairs, crf):
    """What training says of its test part is what `test` says of it as gold lines."""
    given = {
        **TINY,
        "char_hidden": 0,
        "corpus": (pairs,),
        "steps": 12,
        "lr": 0.02,
        "test_file": pairs,
        "crf": crf,
    }
    train(tmp_path / "m", given)
    facts = charlm.load(tmp_path / "m").facts
    found = json.loads(charlm_command("test", "-m", tmp_path / "m", pairs, "--json").stdout)
    for name in ("accuracy", "word_accuracy", "nats"):
        assert found[name] == pytest.approx(facts[f"test_{name}"], rel=1e-9)
    assert 0 < found["word_accuracy"] < found["accuracy"] < 1


def test_words_are_lowered_unless_told_otherwise_and_their_characters_are_not(tmp_path):
    path, plain = tmp_path / "cased.tsv", tmp_path / "plain.tsv"
    path.write_text("".join("Der\tB-x\nDER\tO\n" + "der\tO\n" * n + "\n" for n in range(1, 20)))
    plain.write_text("".join(f"Der der{' ' * n}\tDér der{' ' * n}\n" for n in range(20)))

    def knows(corpus, **settings):
        where = tmp_path / str(len(list(tmp_path.iterdir())))
        given = {name: value for name, value in TINY.items() if name != "crf"}
        run = train(where, {"corpus": (str(corpus),), "steps": 1, **given, **settings})
        tags = charlm.load(where).tags
        letters = "".join(sorted(tags.encoder.characters.to_dict()["tokens"]))
        words = sorted(tags.encoder.words.to_dict()["tokens"]) if tags.encoder.words else None
        return run.settings.text.lowercase, words, letters, run.settings.own.crf

    assert knows(path) == (True, ["der"], "DERder", True)
    assert knows(path, lowercase=False, crf=False) == (
        False,
        ["DER", "Der", "der"],
        "DERder",
        False,
    )
    characters = {"char_hidden": 0}
    assert knows(path, tokenizer="char", **characters)[:3] == (
        False,
        ["DER", "Der", "der"],
        " DERder",
    )
    assert knows(plain, **characters) == (False, None, " Dder", False)


@pytest.mark.parametrize("scheme", ["IOB1", "IOBES"])
def test_tags_come_back_in_the_scheme_of_the_corpus(tmp_path, corpus, scheme):
    """Trained is IOB2, so that the network is the same to the bit."""
    other = tmp_path / "other.tsv"
    other.write_text(columns(sentences_of(), scheme))
    models = []
    for name, path in (("m", corpus), ("n", str(other))):
        train(tmp_path / name, {"corpus": (path,), "epochs": 3, **TINY})
        models.append(charlm.load(tmp_path / name))
    for name, value in models[0].trained.tensors().items():
        np.testing.assert_array_equal(value, models[1].trained.tensors()[name])
    assert models[1].tags.scheme == scheme
    assert {name[0] for name in models[1].names} == set("BIO")
    sentences = [[word for word, _ in sentence] for sentence in sentences_of(5, 60)]
    for one, two in zip(*(model.predict(sentences) for model in models), strict=True):
        assert two.tags == tuple(from_iob2(one.tags, scheme))
        assert two.spans == one.spans


def test_no_tag_follows_one_that_it_cannot_follow():
    """Of random weights, which would say I-x after O now and then; the best of all sequences that
    are allowed."""
    model = tiny_tagger(spread=4)
    sentences = [["ab", "ca", "b", "abba"][:n] for n in (1, 2, 3, 4)]
    free = 0
    for tokens, answer in zip(sentences, model.predict(sentences), strict=True):
        p = np.array([[each[name] for name in model.names] for each in model.probabilities(tokens)])
        logp = np.log(p)
        best = max(
            (
                ways
                for ways in itertools.product(range(5), repeat=len(tokens))
                if possible(ways, model.names)
            ),
            key=lambda ways: sum(logp[place, tag] for place, tag in enumerate(ways)),
        )
        assert answer.tags == tuple(model.names[tag] for tag in best)
        assert answer.probabilities == pytest.approx([p[k, tag] for k, tag in enumerate(best)])
        assert p.sum(axis=1) == pytest.approx(1)
        free += tuple(p.argmax(axis=1)) != best
    assert free


def possible(ways, names):
    tags = [names[tag] for tag in ways]
    return all(
        tag[0] != "I" or (k and tags[k - 1][0] in "BI" and tags[k - 1][1:] == tag[1:])
        for k, tag in enumerate(tags)
    )


@pytest.mark.parametrize("crf", [False, True])
def test_the_tags_of_a_sentence_have_probabilities_that_add_up(crf):
    """Those of all sequences to 1; each tag's, given those before it, to that of its sequence."""
    model, tokens = tiny_tagger(crf=crf, names=("B-x", "I-x", "O")), ["ca", "b", "unheard"]
    p = {
        ways: math.exp(-float(model.judged([tokens], [list(ways)])[0].nats.sum()))
        for ways in itertools.product(range(3), repeat=3)
    }
    assert sum(p.values()) == pytest.approx(1, abs=1e-6)
    for ways in p:
        (found,) = model.judged([tokens], [list(ways)], turns=True)
        begun = [sum(p[other] for other in p if other[:k] == ways[:k]) for k in range(4)]
        assert np.exp(found.turns) == pytest.approx(
            [b / a for a, b in itertools.pairwise(begun)], rel=1e-5
        )
    (gap,) = model.judged([tokens], [[0, -1, 2]], turns=True)
    some = sum(p[ways] for ways in p if (ways[0], ways[2]) == (0, 2))
    assert -float(gap.nats.sum()) == pytest.approx(math.log(some), rel=1e-5)
    assert (gap.turns.sum(), gap.turns[1]) == (pytest.approx(math.log(some), rel=1e-5), 0)


def test_sentences_are_scored_as_each_alone():
    for crf in (False, True):
        model = tiny_tagger(crf=crf)
        several = [
            (["ab"], ["O"]),
            (["ca", "b", "b"], ["O", "O", "B-x"]),
            (["b", "ab"], ["O", "never"]),
        ]
        together = list(model.scores(several, per_token=True))
        alone = [next(model.scores([one], per_token=True)) for one in several]
        for one, other in zip(together, alone, strict=True):
            assert one.logprob == pytest.approx(other.logprob, rel=1e-5)
            pairs = [[p for p in score.per_token if p is not None] for score in (one, other)]
            assert pairs[0] == pytest.approx(pairs[1], rel=1e-5)
        assert [(one.scored, one.unknown) for one in together] == [(1, 0), (3, 0), (1, 1)]
        assert together[2].per_token[1] is None
        assert next(model.scores(several[:1])).per_token == ()


def test_tags_are_given_one_for_each_token():
    model, restorer = tiny_tagger(), tiny_restorer()
    one, two, none = model.scores([("ab ca", ["B-x", "O"]), (["ab", "ca"], ("I-x", "O")), ("", [])])
    assert one.logprob == two.logprob  # an I- that begins a span is a B-
    assert (none.logprob, math.copysign(1, none.logprob), none.scored) == (0, 1, 0)
    by_target, by_tags = restorer.scores([("a\u0308b", "\u00e4!"), (["\u00e4", "b"], ["", "!"])])
    assert by_target == by_tags
    assert by_target.tags == ("", "!")
    for of, pair in (
        (model, ("ab ca", ["O"])),
        (restorer, ("ab", "abc")),
        (restorer, ("ab", ["", "", ""])),
    ):
        with pytest.raises(UsageError, match=r"sentences\[0\] has 2 tokens and [13] tags"):
            list(of.scores([pair]))
    with pytest.raises(TypeError, match="tags of sentences"):
        list(model.scores([("ab ca", [1, 2])]))


@pytest.mark.skipif(kernel.missing is not None, reason="without compiled loops to rounding only")
@pytest.mark.parametrize(
    "settings", [{}, {"crf": True}, {"tokenizer": "char", "char_hidden": 0}], ids=str
)
def test_an_answer_does_not_depend_on_what_is_asked_beside_it(tmp_path, corpus, settings):
    taught(tmp_path, corpus, **settings)
    texts = [[word for word, _ in sentence] for sentence in sentences_of(7, 50)]
    texts += [[], ["never"], ["mr", *NAMES] * 9]
    alone = [next(charlm.load(tmp_path / "m", threads=1).predict([text])) for text in texts]
    for threads in (1, 2):
        model = charlm.load(tmp_path / "m", threads=threads)
        assert list(model.predict(texts)) == alone
        assert list(model.predict(texts[::-1])) == alone[::-1]


@pytest.mark.skipif(kernel.missing is not None, reason="without compiled loops to rounding only")
def test_several_threads_may_ask_one_tagger_at_once():
    model = tiny_tagger(crf=True, ngrams=2, hidden=24, spread=1)
    rng = random.Random(4)
    asked = [
        [rng.choices(["ab", "ca", "b", "abba", "new"], k=rng.randint(0, 9)) for _ in range(200)]
        for _ in range(8)
    ]
    alone = [list(model.predict(sentences)) for sentences in asked]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda sentences: list(model.predict(sentences)), asked)) == alone


def test_sentences_are_texts_or_lists_of_words(tmp_path, corpus):
    model = taught(tmp_path, corpus)
    one, two, none, odd = model.predict(["mr  Aa\tgo ", ["mr", "Aa", "go"], "", ["mr", "A a"]])
    assert one == two
    assert one.text == "mr Aa go"
    assert (none.tokens, none.tags, none.spans, none.pieces) == ((), (), (), 1)
    assert odd.unknown == 1
    for wrong in ("one text", b"bytes", 5):
        with pytest.raises(TypeError, match="several"):
            model.predict(wrong)
    with pytest.raises(TypeError, match=r"sentences\[0\]\[1\]"):
        list(model.predict([["a", 5]]))
    with pytest.raises(UsageError, match="empty token"):
        list(model.predict([["a", ""]]))


def test_long_sentences_are_read_in_pieces_and_every_word_is_answered(tmp_path, corpus):
    model = taught(tmp_path, corpus, max_length=6)
    words = [word for sentence in sentences_of(3, 20) for word, _ in sentence]
    (answer,) = model.predict([words])
    assert len(answer.tags) == len(words)
    assert answer.pieces == -(-len(words) // 6)
    cuts = model.tags.encoder.cuts(model.tags.encoder(words), 6)
    pieces = list(model.predict([words[cut] for cut in cuts]))
    assert answer.tags == tuple(tag for piece in pieces for tag in piece.tags)
    assert answer.probabilities == tuple(p for piece in pieces for p in piece.probabilities)
    p = [each[name] for each, name in zip(model.probabilities(words), answer.tags, strict=True)]
    assert p == pytest.approx(answer.probabilities, rel=1e-5)
    assert all(
        list(each.values()) == sorted(each.values(), reverse=True)
        for each in model.probabilities(words)
    )
    run = train(tmp_path / "n", {"corpus": (corpus,), "steps": 1, **TINY, "max_length": 6})
    assert any("longer than 6 steps and are cut into pieces" in note for note in run.notes)


# --- which weights are kept -----------------------------------------------------------------------


def test_spans_go_before_accuracy_and_accuracy_where_there_are_none(tmp_path, corpus):
    """What is better by the one is worse by the other."""
    gold, starts = np.array([0, 1, 2, 2, 2, 2], np.int32), np.array([0, 6])
    found, missed = np.array([0, 1, 0, 0, 0, 2], np.int32), np.array([2, 1, 2, 2, 2, 2], np.int32)
    run = train(tmp_path / "m", {"corpus": (corpus,), "steps": 1, **TINY})
    for names, better in ((("B-x", "I-x", "O"), found), (("b", "i", "o"), missed)):
        tags = dataclasses.replace(run.lesson.tags, names=names)
        lesson = dataclasses.replace(run.lesson, tags=tags)
        merits = [
            lesson.merit(tag_tally(said, gold, np.ones(6), starts, names))
            for said in (found, missed)
        ]
        best = max(range(2), key=lambda k, merits=merits: merits[k].right / merits[k].of)
        assert [found, missed][best] is better


@pytest.mark.parametrize(
    ("kind", "figure"), [("spans", "valid_span_f1"), ("words", "valid_accuracy")]
)
def test_the_best_weights_are_those_of_the_best_figure(tmp_path, corpus, kind, figure):
    """Of spans their F1; the accuracy where tags mark none. Ties go by nats, then to the earlier
    step."""
    if kind == "words":
        path = tmp_path / "corpus.tsv"
        path.write_text(
            path.read_text().replace("\tB-", "\tb").replace("\tI-", "\ti").replace("\tO", "\tNONE")
        )
    given = {"corpus": (corpus,), "steps": 48, **TINY, "eval_every": 3, "lr": 0.03}
    run = train(tmp_path / "m", given)
    log = [json.loads(line) for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    judged = [entry for entry in log if entry["valid_nats"] is not None]
    best = max(judged, key=lambda entry: (entry[figure] or 0, -entry["valid_nats"], -entry["step"]))
    facts = charlm.load(tmp_path / "m").facts
    assert facts["step"] == best["step"] == run.standing.best_step
    for name in ("valid_accuracy", "valid_span_f1", "valid_unknown_accuracy", "valid_nats"):
        assert facts[name] == best[name]
    assert len({entry[figure] for entry in judged}) > 3
    assert (facts["valid_span_f1"] is None) == (kind == "words")


# --- a run ----------------------------------------------------------------------------------------

RUNS = {
    "words": {},
    "crf, dropout": {"crf": True, "dropout": 0.3, "token_dropout": 0.2},
    "characters of words": {"tokenizer": "char", "char_hidden": 0, "layers": 2, "residual": True, "dropout": 0.2},
    "one direction, muon": {"bidirectional": False, "optimizer": "muon", "cell": "lstm", "head_layers": 1},
    "patience": {"eval_every": 3, "patience": 2, "lr": 0.3},
}  # fmt: skip


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_stopped_and_resumed_ends_with_the_same_bits(tmp_path, corpus, settings):
    given = {"corpus": (corpus,), "steps": 30, "test_fraction": 0.1, **TINY, **settings}
    assert_resumes_to_the_bit(tmp_path, given, [1], [5, 6, 23])


def test_characters_resume_too(tmp_path, pairs):
    given = {**TINY, "corpus": (pairs,), "steps": 20, "char_hidden": 0, "test_fraction": 0.2}
    train(tmp_path / "whole", given)
    train(tmp_path / "parts", given, 7)
    train(tmp_path / "parts", {}, resume=True)
    assert_same(outcome(tmp_path / "whole"), outcome(tmp_path / "parts"))


def test_equal_runs_write_equal_files_and_other_seeds_do_not(tmp_path, corpus):
    files = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        train(
            tmp_path / name, {"corpus": (corpus,), "steps": 6, **TINY, "seed": seed, "dropout": 0.2}
        )
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("options", [
    ["--crf", "--head-layers", "1", "--ngrams", "2"], ["--no-bidirectional", "--char-hidden", "0", "--no-crf"],
    ["--tokenizer", "char", "--column", "-1", "--token-column", "1", "--tags", "words"],
], ids=["told", "declined", "characters"])  # fmt: skip
def test_the_settings_that_a_run_writes_repeat_it(tmp_path, corpus, options):
    shape = ["--hidden", "8", "--embedding", "4", "--steps", "3", "--threads", "1"]
    charlm_command("train", corpus, "--task", "tag", *shape, "-m", tmp_path / "one", *options)
    result = charlm_command(
        "train", "--config", tmp_path / "one" / "config.toml", "-m", tmp_path / "two"
    )
    assert result.exit_code == 0, result.stderr
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    first, second = ((tmp_path / name / "config.toml").read_text() for name in ("one", "two"))
    assert first == second


def test_the_test_part_is_read_once_with_the_best_weights(tmp_path, corpus):
    given = {"corpus": (corpus,), "steps": 30, **TINY, "test_fraction": 0.2, "eval_every": 5}
    run = train(tmp_path / "m", given)
    model = charlm.load(tmp_path / "m")
    figures = TagFigures(model.tally(run.corpus.test), model.names, model.tags.common)
    for name in ("accuracy", "span_f1", "unknown_accuracy", "nats"):
        assert model.facts[f"test_{name}"] == getattr(figures, name)
    assert run.test.count == run.corpus.test.tokens
    shown = run.course.shown("test", run.test)
    assert shown.startswith(
        f"span F1 {100 * figures.span_f1:.2f} %, accuracy {100 * figures.accuracy:.2f} %"
    )


def test_what_a_run_says_before_it_begins(tmp_path, corpus):
    with Directory(tmp_path / "m") as directory:
        run = open_run(directory, {"corpus": (corpus,), "task": "tag"})
        told = "\n".join([*run.notes, *run.course.about()])
    counts = run.corpus.train.counts
    share = 100 * counts.max() / counts.sum()
    assert "tags: words, because blank lines part 160 sentences; columns: parted by tabs" in told
    assert "scheme: IOB2" in told
    assert f"tags: 4; always O would be right in {share:.1f} % of the training words" in told
    assert "plan: " in told
    assert run.settings.text.tokenizer == "word"


def test_gold_tags_that_training_has_not_are_wrong_and_have_no_nats(tmp_path, corpus):
    gold = tmp_path / "gold.tsv"
    gold.write_text("go\tO\nto\tB-new\n\nin\tO\nBa\tB-loc\n\n")
    settings = {"valid_file": str(gold), "test_file": str(gold), "epochs": 10, "lr": 0.03}
    run = train(tmp_path / "m", {"corpus": (corpus,), **TINY, **settings})
    figures = run.lesson.tag_figures("test", run.test)
    assert (figures.right, figures.tokens, run.test.count) == (3, 4, 3)
    assert figures.span_f1 == pytest.approx(2 * 1 / (2 + 1))
    assert charlm.load(tmp_path / "m").facts["test_span_f1"] == figures.span_f1


# --- from a language model ------------------------------------------------------------------------


@pytest.fixture
def language_models(tmp_path):
    """Language models of the sentences alone, of words and of characters."""
    path = tmp_path / "texts.txt"
    path.write_text(
        "".join(" ".join(word for word, _ in sentence) + "\n" for sentence in sentences_of(1))
    )
    settings = {
        "hidden": 8,
        "embedding": 4,
        "steps": 3,
        "threads": 1,
        "batch_size": 4,
        "seq_len": 8,
    }
    for tokenizer in ("word", "char", "byte"):
        of_words = {"word_pattern": r"\S+"} if tokenizer == "word" else {}
        counted = {} if tokenizer == "byte" else {"min_count": 1}
        given = {"corpus": (str(path),), "tokenizer": tokenizer, **settings, **of_words, **counted}
        train(tmp_path / tokenizer, given)
    return tmp_path


@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_a_tagger_starts_from_a_language_model(tmp_path, corpus, language_models, tokenizer):
    base = charlm.load(language_models / tokenizer).trained.tensors()
    with open(corpus, "a") as file:
        file.write("zebra\tO\nxy\tO\n\n" * 30)
    given = {"corpus": (corpus,), "init_from": str(language_models / tokenizer), "task": "tag", "steps": 1, "lr": 1e-30,
             "optimizer": "sgd", "threads": 1, "char_hidden": 0, "ngrams": 0, "min_count": 1}  # fmt: skip
    run = train(tmp_path / "m", given)
    model = charlm.load(tmp_path / "m")
    found = model.trained.tensors()
    assert model.tokenizer.kind == tokenizer
    assert ("zebra" if tokenizer == "word" else "z") in model.tokenizer.to_dict()["tokens"]
    size = len(base["embed.weight"])
    np.testing.assert_allclose(found["embed.weight"][:size], base["embed.weight"], atol=1e-6)
    for name in ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0"):
        np.testing.assert_allclose(found[name], base[name], atol=1e-6)
    (note,) = [note for note in run.notes if note.startswith("from gru 1x8 came ")]
    assert "rnn.weight_hh_l0" in note


def test_what_does_not_fit_the_language_model(tmp_path, corpus, pairs, language_models):
    for wrong, base, path, told in (
        ({"hidden": 16}, "word", corpus, "come from the model"),
        ({}, "word", pairs, "a model of words cannot be the beginning"),
        ({}, "byte", corpus, "tokenizer byte does not go with tags"),
    ):
        given = {
            "corpus": (path,),
            "init_from": str(language_models / base),
            "task": "tag",
            **wrong,
        }
        with Directory(tmp_path / "n") as directory, pytest.raises(UsageError, match=told):
            open_run(directory, given)
    taught(tmp_path, corpus, steps=1, epochs=None)
    with (
        Directory(tmp_path / "n") as directory,
        pytest.raises(UsageError, match="no language model"),
    ):
        open_run(directory, {"corpus": (corpus,), "task": "tag", "init_from": str(tmp_path / "m")})


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "told"), [
    ({"engine": "torch"}, "engine torch does not know task tag"),
    ({"tie": True}, "tie does not go with tags"),
    ({"layers": 0}, "layers 0 does not go with tags"),
    ({"context": "stream"}, "context stream does not go with tags"),
    ({"tokenizer": "byte"}, "tokenizer byte does not go with tags"),
    ({"tokenizer": "word", "tags": "characters"}, "tokenizer word does not go with tags characters"),
    ({"tags": "both"}, "tags must be one of"),
    ({"column": 0}, "column counts from 1"),
    ({"token_column": 1 << 20}, "token-column must be"),
    ({"char_hidden": -1}, "char-hidden must be"),
    ({"max_length": 0}, "max-length must be"),
    ({"balance": True}, "do not go with task tag, so leave them out: balance"),
    ({"pool": "max"}, "do not go with task tag, so leave them out: pool"),
    ({"labels": "tab"}, "do not go with task tag, so leave them out: labels"),
    ({"counts": 3}, "do not go with task tag, so leave them out: counts"),
    ({"task": "classify", "crf": True}, "do not go with task classify, so leave them out: crf"),
    ({"task": "lm", "crf": True}, "do not go with task lm, so leave them out: crf"),
])  # fmt: skip
def test_what_does_not_go_with_tags_is_refused_before_the_corpus_is_read(
    tmp_path, monkeypatch, settings, told
):
    path = tmp_path / "c.tsv"
    path.write_text("a\tb\n\nb\tc\n")
    for reader in ("tag.prepare_tagged", "classify.prepare_labelled", "lm.prepare"):
        monkeypatch.setattr(
            f"charlm.tasks.{reader}", lambda *_, **__: pytest.fail("the corpus was read")
        )
    with Directory(tmp_path / "m") as directory, pytest.raises(UsageError, match=told):
        open_run(directory, {"corpus": (str(path),), "task": "tag"} | settings)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("settings", [{"char_hidden": 5}, {"ngrams": 2}], ids=str)
def test_what_words_have_is_refused_where_characters_are_read(tmp_path, corpus, pairs, settings):
    for path, more in ((pairs, {}), (corpus, {"tokenizer": "char"})):
        with (
            Directory(tmp_path / "m") as directory,
            pytest.raises(
                UsageError, match=f"{next(iter(settings)).replace('_', '-')} is for words"
            ),
        ):
            open_run(directory, {"corpus": (path,), "task": "tag", **settings, **more})


@pytest.mark.parametrize(("option", "told"), [
    (["--seq-len", "9"], "sentences are read whole: leave --seq-len out"),
    (["--word-pattern", r"\S"], "the tokens are those of the columns: leave --word-pattern out"),
    (["--no-punctuation"], "the tokens are those of the columns: leave --no-punctuation out"),
    (["--sequences", "document"], "sequences document does not go with tags"),
])  # fmt: skip
def test_an_option_that_does_nothing_is_refused_on_the_command_line(tmp_path, corpus, option, told):
    result = charlm_command("train", corpus, "--task", "tag", *option, "-m", tmp_path / "m")
    assert (result.exit_code, told in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(("text", "code", "told"), [
    ("a\tO\nb\n\n", 65, "line 2"),
    ("a\tO\n\nb\t\n\n", 65, "line 3 has an empty tag"),
    ("a\tO\n\nb\tO\n\n" * 9, 65, "needs two tags or more"),
    ("ab\tac\nab\tabc\nab\tad\n", 65, "line 2 has a source of 2 characters and a target of 3"),
    ("\n\n", 65, "nothing but white space"),
    (None, 66, "cannot be read"),
])  # fmt: skip
def test_corpora_that_cannot_be_used(tmp_path, text, code, told):
    path = tmp_path / "c.tsv"
    if text is not None:
        path.write_text(text)
    result = charlm_command("train", path, "--task", "tag", "-m", tmp_path / "m")
    assert (result.exit_code, told in result.stderr, result.stderr.count("\n")) == (
        code,
        True,
        1,
    ), result.stderr


def test_settings_of_the_task_may_not_change_on_resume(tmp_path, corpus):
    train(tmp_path / "m", {"corpus": (corpus,), "steps": 4, **TINY}, stop_at=2)
    changes = {
        "crf": True,
        "char_hidden": 9,
        "tags": "characters",
        "column": 1,
        "max_length": 5,
        "task": "lm",
    }
    for name, value in changes.items():
        with (
            Directory(tmp_path / "m") as directory,
            pytest.raises(UsageError, match="keeps its settings"),
        ):
            open_run(directory, {name: value}, resume=True)
    other = tmp_path / "other.tsv"
    other.write_text(columns(sentences_of()).replace("B-loc", "B-per", 1))
    with (
        Directory(tmp_path / "m") as directory,
        pytest.raises(UsageError, match="the corpus is not the one"),
    ):
        open_run(directory, {"corpus": (str(other),)}, resume=True)
    assert train(tmp_path / "m", {"crf": False}, resume=True).standing.step == 4


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_files(tmp_path_factory):
    """Return files of taggers of words and of characters."""
    where = tmp_path_factory.mktemp("files")
    tiny_tagger(crf=True).save(where / "words.safetensors")
    tiny_tagger(names=("", "!"), scheme=None, unit="characters").save(
        where / "characters.safetensors"
    )
    return where


LAYOUT = {"tabs": True, "token": 1, "tag": -1, "conllu": False, "heads": 0}
WRONG = {
    "names": [["O"], ["O", "O", "B-x", "I-x", "B-y"], ["O", "B-x", "I-x", "B-y", 5], "abc", None,
              ["O", "B-x", "I-x", "B-y", ""], ["O", "B-x", "I-x", "B-y", "\x1b[2J"], ["O", "B-x", "I-x", "B-y", "a\n"],
              ["a", "b", "c", "d", "e"], ["O", "B-x", "I-x", "B-y", "I-y", "B-z"]],
    "counts": [[1, 2], [1, 2, 3, 4, -1], [1, 2, 3, 4, "5"], [1, 2, 3, 4, True], None, 5, [1, 2, 3, 4, 10**4000]],
    "unit": ["letters", None, 5, "characters"], "scheme": ["IOB3", 5, ""], "max_length": [0, -1, 1.5, None, "8", True],
    "crf": [1, None, False], "char_hidden": [-1, 4, 1 << 40, None, True], "char_embedding": [0, -1, 4, None, 1 << 40],
    "ngrams": [1, 9, -1, None, True], "more": [1],
    "layout": [None, 5, {}, LAYOUT | {"token": 0}, LAYOUT | {"tag": 1 << 40}, LAYOUT | {"tabs": 1},
               LAYOUT | {"heads": -1}, LAYOUT | {"token": True}, LAYOUT | {"more": 1}, LAYOUT | {"conllu": None}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values],
    ids=lambda value: ascii(value)[:30],
)  # fmt: skip
def test_what_a_file_says_of_its_tags_is_not_believed_unless_it_fits(
    model_files, tmp_path, name, value
):
    path = tmp_path / "m.safetensors"
    tensors, metadata = checkpoint.load(model_files / "words.safetensors")
    tags = json.loads(metadata["charlm.tags"]) | {name: value}
    checkpoint.save(path, tensors, metadata | {"charlm.tags": json.dumps(tags)})
    with pytest.raises(DataError, match=r"m\.safetensors: "):
        charlm.load(path)


@pytest.mark.parametrize(("name", "value"), [
    ("names", ["!", ""]), ("names", ["!", "?"]), ("names", ["", "ab"]),
    ("names", ["", "\ud800"]), ("names", ["", "\n"]), ("scheme", "IOB2"),
    ("layout", LAYOUT), ("unit", "words"), ("char_hidden", 3),
], ids=lambda value: ascii(value)[:30])  # fmt: skip
def test_nor_where_characters_have_the_tags(model_files, tmp_path, name, value):
    path = tmp_path / "m.safetensors"
    tensors, metadata = checkpoint.load(model_files / "characters.safetensors")
    tags = json.loads(metadata["charlm.tags"]) | {name: value}
    checkpoint.save(path, tensors, metadata | {"charlm.tags": json.dumps(tags)})
    with pytest.raises(DataError, match=r"m\.safetensors: "):
        charlm.load(path)


@pytest.mark.parametrize(("name", "value"), [
    ("reads", "bytes"), ("reads", None), ("reads", "characters"), ("words", None), ("characters", None),
    ("words", {"tokenizer": "char", "lowercase": False, "tokens": ["a"]}), ("characters", {"tokenizer": "byte"}),
    ("more", 1),
], ids=lambda value: ascii(value)[:30])  # fmt: skip
def test_what_a_file_says_of_its_vocabulary_is_not_believed_unless_it_fits(
    model_files, tmp_path, name, value
):
    path = tmp_path / "m.safetensors"
    tensors, metadata = checkpoint.load(model_files / "words.safetensors")
    vocabulary = json.loads(metadata["charlm.vocabulary"]) | {name: value}
    checkpoint.save(path, tensors, metadata | {"charlm.vocabulary": json.dumps(vocabulary)})
    with pytest.raises(DataError, match=r"m\.safetensors: "):
        charlm.load(path)


@pytest.mark.parametrize(
    "key", ["charlm.tags", "charlm.vocabulary", "charlm.model", "charlm.training"]
)
def test_a_file_without_an_entry_is_refused(model_files, tmp_path, key):
    path = tmp_path / "m.safetensors"
    tensors, metadata = checkpoint.load(model_files / "words.safetensors")
    del metadata[key]
    checkpoint.save(path, tensors, metadata)
    with pytest.raises(DataError, match=r"m\.safetensors: "):
        charlm.load(path)


def test_an_older_charlm_would_refuse_it_by_its_format(model_files):
    _, metadata = checkpoint.load(model_files / "words.safetensors")
    assert (metadata["charlm.format"], metadata["charlm.task"]) == ("2", "tag")


def test_a_tagger_says_what_it_is_and_travels(model_files):
    model = charlm.load(model_files / "words.safetensors")
    assert repr(model) == "<Tagger of words with 5 tags: B-x, B-y, I-x, ...>"
    twin = pickle.loads(pickle.dumps(model))
    assert list(twin.predict(["ab ca b"])) == list(model.predict(["ab ca b"]))
    assert Tags.of_file(model.metadata()).metadata() == model.tags.metadata()
    other = charlm.load(model_files / "characters.safetensors")
    assert repr(other) == "<Tagger of characters with 2 tags: (keep), !>"
    assert next(other.predict(["ab"])).probabilities == pytest.approx(
        next(pickle.loads(pickle.dumps(other)).predict(["ab"])).probabilities, rel=COMPANY
    )


# --- memory ---------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_sentences(tmp_path, monkeypatch):
    """Of twenty times the sentences, no more are held at a time."""
    from charlm.text import packing, tagged_part

    held = {}
    for name, count in (("small", 600), ("large", 12_000)):
        path, most = tmp_path / f"{name}.tsv", [0]
        path.write_text("".join(f"word\t{'AB'[k % 2]}\n{k}\tO\n\n" for k in range(count)))
        plain = tagged_part.TaggedPart.sentences

        def noted(part, numbers, plain=plain, most=most):
            most[0] = max(most[0], len(numbers))
            return plain(part, numbers)

        monkeypatch.setattr(tagged_part.TaggedPart, "sentences", noted)
        train(
            tmp_path / name,
            {"corpus": (str(path),), "steps": 2, **TINY, "eval_every": 2, "valid_fraction": 0.5},
        )
        monkeypatch.setattr(tagged_part.TaggedPart, "sentences", plain)
        held[name] = most[0]
    assert 0 < held["large"] <= packing._WINDOW


def test_sentences_without_end_are_answered():
    """No more of them are held than fit a window, so memory does not grow with the input."""
    read = []

    def endless():
        for k in itertools.count():
            read.append(k)
            yield ["ab"] * (k % 4)

    answers = tiny_tagger().predict(endless())
    assert max(len(read) - k for k, _ in enumerate(itertools.islice(answers, 9000))) <= 4096
