"""A converter as a person uses it: its answers are the most probable ones, and no figure depends on
what else is asked."""

import itertools
import json
import pickle

import numpy as np
import pytest

from charlm import checkpoint
from charlm.config import ModelConfig
from charlm.conversion import Conversion
from charlm.converter import Converter, rebuilt
from charlm.engines.converter import ConverterEngine
from charlm.errors import DataError, UsageError
from charlm.sampling import SamplingConfig
from charlm.text.spelling import Between, JoinedWords, joined
from charlm.text.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer

SOURCES = ["abc", "", "b", "cacaba", "ca?b", "aaaaaaaaaaaaaaaa", "cb"]


def converter_of(tokens=("X", "Y1"), attention=True, seed=0, per_token=0.0, excess=0, longest=12):
    """Return a small converter of characters to words with drawn weights."""
    target = joined(WordTokenizer(list(tokens), word_pattern=r"\S+"), " ")
    known = Conversion(CharTokenizer(list("abc")), target, attention, per_token, excess, longest)
    config = ModelConfig(target.size, hidden=5, embedding=3, bidirectional=True)
    engine = ConverterEngine(known.shape(config))
    rng = np.random.default_rng(seed)
    engine.params.flat[:] = rng.standard_normal(engine.params.flat.size)
    engine.params["head.bias"][0] += 1  # so that most targets end before their limit
    return Converter(engine, config, known, {"corpus": ["pairs.tsv"]})


@pytest.fixture(scope="module", params=[True, False], ids=["attention", "state"])
def converter(request):
    return converter_of(attention=request.param)


def test_a_wide_beam_finds_the_most_probable_of_all_targets(converter):
    every = [
        " ".join(words)
        for length in range(5)
        for words in itertools.product(["X", "Y1"], repeat=length)
    ]
    for source in SOURCES[:3]:
        scores = converter.scores([(source, target) for target in every])
        best = max(scores, key=float)
        (found,) = converter.predict([source], beam=40)
        assert found.targets[0].text == best.text
        assert found.targets[0].logprob == pytest.approx(best.logprob, rel=1e-5)


@pytest.mark.parametrize("beam", [1, 4])
def test_what_was_found_is_as_probable_as_its_score_says(converter, beam):
    for source, answer in zip(SOURCES, converter.predict(SOURCES, beam, beam), strict=True):
        logprobs = [target.logprob for target in answer.targets]
        assert logprobs == sorted(logprobs, reverse=True)
        for target in answer.targets:
            if target.ended:
                score = converter.score(source, target.text)
                assert score.logprob == pytest.approx(target.logprob, rel=1e-5)
                assert score.tokens == len(target.tokens) + 1


@pytest.mark.parametrize("beam", [1, 3])
def test_no_answer_depends_on_its_neighbours(converter, beam):
    alone = [next(converter.predict([source], beam)) for source in SOURCES]
    assert list(converter.predict(SOURCES, beam)) == alone
    assert list(converter.predict(iter(SOURCES * 2), beam, ready=lambda: False)) == alone * 2


def test_scores_per_token_add_up(converter):
    pairs = [(source, "X Y1 Z X") for source in SOURCES]
    for whole, parted in zip(
        converter.scores(pairs), converter.scores(pairs, per_token=True), strict=True
    ):
        assert [token.token for token in parted.per_token] == ["X", "Y1", "Z", "X", "<eos>"]
        assert sum(token.logprob for token in parted.per_token) == pytest.approx(whole.logprob)
        assert (whole.unknown, whole.tokens) == (parted.unknown, parted.tokens) == (1, 5)
        assert whole.unknown_logprob == pytest.approx(parted.unknown_logprob)


def test_samples_have_the_probability_that_they_were_drawn_with(converter):
    for sample in converter.samples("cab", 5, seed=3):
        if sample.ended == "eos":
            logprob = converter.score("cab", sample.text).logprob
            assert logprob == pytest.approx(sample.logprob, rel=1e-5)
    (best,) = converter.predict(["cab"])
    drawn = converter.sample("cab", temperature=0.0)  # which may go on where EOS ends no target
    assert tuple(drawn.split()[:10]) == best.targets[0].tokens
    assert converter.sample("cab", length=1, seed=1).count(" ") == 0
    config = SamplingConfig(converter.most_tokens("cab"))
    assert next(converter.samples("cab", 1, config, 7)).text == converter.sample("cab", seed=7)


def test_what_a_target_looked_at():
    converter = converter_of()
    (best,) = converter.predict(["cab"])
    found = converter.align("cab")
    assert found.source_tokens == ("c", "a", "b", "")
    assert found.target_tokens == (*best.targets[0].tokens, "")
    given = converter.align("cab", "Y1 Y1")
    assert given.target_tokens == ("Y1", "Y1", "")
    assert given.shares.sum(axis=1) == pytest.approx(np.ones(3))
    assert np.ptp(given.shares) > 0.1
    with pytest.raises(UsageError, match="no attention"):
        converter_of(attention=False).align("cab")


def test_unknown_and_long_sources():
    converter = converter_of(longest=4)
    marked, whole, cut = converter.predict(["ab?c", "abab", "ababcc"])
    assert (marked.unknown, marked.cut, cut.unknown, cut.cut) == (1, False, 0, True)
    assert cut.source_tokens == tuple("abab")
    assert cut.targets == whole.targets
    copied, other = converter.predict(["ab?c", "abab"], unknown="copy")
    assert (copied.targets[0].text, copied.targets[0].logprob) == ("ab?c", None)
    assert other == whole


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"beam": 0}, "beam must be 1 or more"),
        ({"beam": 2, "top": 3}, "top must be at most beam"),
        ({"unknown": "drop"}, "unknown must be one of mark, copy"),
    ],
)
def test_predictions_that_cannot_be(converter, settings, error):
    with pytest.raises(UsageError, match=error):
        converter.predict(["a"], **settings)
    with pytest.raises(TypeError, match="several texts"):
        converter.predict("a")


def test_length_limit():
    known = converter_of(per_token=1.5, excess=3).conversion
    assert [known.limit(n) for n in (0, 1, 4, 6, 7, 99)] == [13, 15, 19, 22, 22, 22]
    endless = converter_of()
    endless.trained.params["head.bias"][0] = -1e4  # EOS never comes
    (answer,) = endless.predict(["ab"])
    assert (len(answer.targets[0].tokens), answer.targets[0].ended) == (10, False)
    (answer,) = endless.predict(["ab"], beam=2)
    assert not answer.targets[0].ended


def test_a_file_holds_all_of_it(converter, tmp_path):
    converter.save(tmp_path / "model.safetensors")
    opened = rebuilt(*checkpoint.load(tmp_path / "model.safetensors"))
    answers = list(converter.predict(SOURCES, 2, 2))
    for copy in (opened, pickle.loads(pickle.dumps(converter))):
        assert list(copy.predict(SOURCES, 2, 2)) == answers
        assert copy.metadata() == converter.metadata()
    assert repr(opened).startswith("<Converter of characters to words, with")


def damaged(change, key="charlm.conversion"):
    metadata = converter_of().conversion.metadata()
    values = json.loads(metadata[key])
    change(values)
    return metadata | {key: json.dumps(values)}


@pytest.mark.parametrize(
    "change",
    [
        {"attention": 1}, {"per_token": -1.0}, {"per_token": "1"}, {"excess": -1}, {"excess": 1.5},
        {"excess": 1 << 40}, {"max_length": 0}, {"max_length": 1 << 40}, {"between": "-"},
        {"between": 1}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_damaged_knowledge_is_refused(change):
    with pytest.raises(DataError):
        Conversion.of_file(damaged(lambda values: values.update(change)))


def test_damaged_vocabularies_are_refused():
    for change in (lambda v: v.pop("source"), lambda v: v["target"].pop("tokens")):
        with pytest.raises(DataError):
            Conversion.of_file(damaged(change, "charlm.vocabulary"))
    byte = {"tokenizer": "byte"}
    with pytest.raises(DataError, match="between"):
        Conversion.of_file(damaged(lambda v: v.update(target=byte), "charlm.vocabulary"))


def test_words_are_written_as_they_stood():
    spaced = joined(WordTokenizer(["K", "AE1"], word_pattern=r"\S+"), " ")
    assert isinstance(spaced, JoinedWords)
    assert spaced.decode([2, 3, 0]) == "K AE1"
    decoder = spaced.decoder()
    assert [decoder.feed(token) for token in (3, 1, 2)] == ["AE1", " <unk>", " K"]
    tight = joined(WordTokenizer(["V;", "x", " "], word_pattern=r"\w;|."), "")
    assert tight.decode([3, 4, 2]) == "x V;"
    for other in (CharTokenizer(["a"]), ByteTokenizer()):
        assert joined(other, None) is other


@pytest.mark.parametrize(
    ("texts", "between"),
    [
        ([("K AE1", ["K", "AE1"]), ("K", ["K"]), ("", [])], " "),
        ([("aV;", ["a", "V;"]), ("b", ["b"])], ""),
        ([("a", ["a"])], ""),
        ([("a  b", ["a", "b"])], None),
        ([("a b", ["a", "b"]), ("ab", ["a", "b"])], None),
        ([("a b!", ["a", "b"])], None),
    ],
)
def test_what_stands_between_words(texts, between):
    found = Between()
    for text, words in texts:
        found.add(text, words)
    assert found.found == between
