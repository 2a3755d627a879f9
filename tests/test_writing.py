"""Texts from tokens: where they stop, how they begin, what they must match, the most probable ones, what is copied."""

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm import writing
from charlm.cells import CELLS
from charlm.engines import numpy as numpy_engine
from charlm.errors import UsageError
from charlm.nn import kernel
from charlm.novelty import Novelty
from charlm.sampling import SamplingConfig, probabilities
from charlm.text.sequences import DOCUMENT, LINE, PARAGRAPH
from charlm.text.tokenizers import EOS, UNK
from tests.tiny import tiny_model


def texts(model, count=40, **settings):
    return [sample.text for sample in model.samples(count, SamplingConfig(**settings), seed=11)]


@pytest.mark.parametrize("stop", ["b", "ab", "aab", "abab", "cc"])
def test_a_stop_string_ends_the_text_before_it(stop):
    model = tiny_model("abc", sequences="document", spread=0.3)
    model.engine.params["head.bias"][EOS] = -2
    whole, stopped = texts(model, length=60), list(model.samples(40, SamplingConfig(60, stop=stop), seed=11))
    assert [sample.text for sample in stopped] == [text.split(stop)[0] for text in whole]
    for text, sample in zip(whole, stopped, strict=True):
        assert (sample.ended == "stop") == (stop in text)
        assert len(sample.ids) == (text.index(stop) + len(stop) if stop in text else len(sample.ids))
    assert {sample.ended for sample in stopped} >= {"stop"}
    for seed in range(30):
        assert "".join(model.stream(60, seed=seed, stop=stop)) == model.sample(60, seed=seed).split(stop)[0]


@pytest.mark.parametrize("lines", [1, 2, 5])
def test_a_number_of_lines_ends_the_text(lines):
    model = tiny_model("ab\n", sequences="document", spread=1.0)
    expected = ["\n".join(text.split("\n")[:lines]) for text in texts(model, length=80)]
    assert texts(model, length=80, lines=lines) == expected
    assert model.sample(80, seed=5, lines=lines) == "\n".join(model.sample(80, seed=5).split("\n")[:lines])


def test_stop_string_and_lines_together_end_at_the_first():
    model = tiny_model("ab\n", sequences="document", spread=1.0)
    for seed in range(60):
        text = model.sample(50, seed=seed)
        expected = min(text.split("ba")[0], "\n".join(text.split("\n")[:2]), key=len)
        assert model.sample(50, seed=seed, stop="ba", lines=2) == expected


def test_a_text_without_end_goes_on_as_a_long_one_does():
    model = tiny_model("abc", sequences="document", spread=1.0)
    model.engine.params["head.bias"][EOS] = -50
    endless = "".join(itertools.islice(model.stream(0, seed=3), 500))
    assert len(endless) >= 490
    assert model.sample(600, seed=3).startswith(endless)
    with pytest.raises(UsageError, match="without end"):
        next(model.samples(2, SamplingConfig(length=0)))


@pytest.mark.parametrize("cell", CELLS)
def test_temperature_zero_takes_the_most_probable_token_each_time(cell):
    model = tiny_model("abc", cell=cell, spread=1.5)
    expected = ""
    while len(expected) < 12:
        best = next(token for token in model.next_tokens(expected) if token != "<unk>")
        if best == "<eos>":
            break
        expected += best
    assert model.sample(12, temperature=0) == expected
    assert texts(model, 3, length=12, temperature=0) == [expected] * 3


def test_the_repetition_penalty_multiplies_log_probabilities_of_what_stands_there():
    logp = np.log([0.4, 0.1, 0.3, 0.2])
    seen = np.array([True, False, True, False])
    config = SamplingConfig(unk="keep", repetition_penalty=1.5, temperature=0.5)
    weights = np.exp(np.array([1.5, 1, 1.5, 1]) * logp / 0.5)
    np.testing.assert_allclose(probabilities(logp, config, seen), weights / weights.sum())
    model = tiny_model("abcdefgh", sequences="document", spread=0.05)
    model.engine.params["head.bias"][[EOS, UNK]] = -50
    prompted = model.sample(7, prompt="a", seed=1, repetition_penalty=1e6)
    assert sorted(prompted) == list("abcdefgh"), "with a huge penalty nothing comes twice while anything is left"


@pytest.mark.parametrize("start", ["a", "ab", "cab"])
def test_texts_start_as_they_must_and_go_on_as_after_a_prompt(start):
    model = tiny_model("abc", spread=1.0)
    begun = list(model.samples(20, SamplingConfig(15, starts_with=start), seed=4))
    prompted = list(model.samples(20, SamplingConfig(15), prompt=start, seed=4))
    assert [sample.text for sample in begun] == [sample.text for sample in prompted]
    assert [sample.logprob for sample in begun] == [sample.logprob for sample in prompted]
    assert model.sample(15, seed=4, starts_with=start) == begun[0].text


def test_words_that_start_as_they_must_are_drawn_in_proportion():
    """Chi-square against the model's own probabilities, given that the word starts so."""
    model = tiny_model(["ka", "kat", "kol", "mo", "ku"], words=True, spread=0.7)
    first = {token: p for token, p in model.next_tokens("mo").items() if token.startswith("k")}
    total, draws = sum(first.values()), 4000
    drawn = model.samples(draws, SamplingConfig(1, starts_with="mo k"), seed=2)
    found = [sample.text.split()[1] for sample in drawn]
    chi2 = sum((found.count(token) - draws * p / total) ** 2 / (draws * p / total) for token, p in first.items())
    assert set(found) == set(first)
    assert chi2 <= 3 + 5 * math.sqrt(6)
    with pytest.raises(UsageError, match="no text can start with 'x': no text of the model has 'x'"):
        model.sample(starts_with="x")


def test_texts_that_must_match_are_those_of_all_that_do():
    model = tiny_model("abc", spread=0.3)
    every = texts(model, 300, length=8)
    accepted = [text for text in every if "ab" in text]
    assert 20 < len(accepted) < 280
    found = [sample.text for sample in model.matching(15, lambda text: "ab" in text, SamplingConfig(8), seed=11)]
    assert found == accepted[:15]
    few = list(model.matching(300, lambda text: "ab" in text, SamplingConfig(8), seed=11, tries=100))
    assert [sample.text for sample in few] == [text for text in every[:100] if "ab" in text]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("width", [1, 3, 10])
def test_a_wide_beam_finds_the_most_probable_texts_of_all(cell, width):
    """Against all strings of up to 4 tokens, with their end, and those of 4 tokens that go on."""
    model = tiny_model("abc", cell=cell, spread=1.5)
    strings = ["".join(s) for n in range(5) for s in itertools.product("abc", repeat=n)]
    ended = [(score.text, score.logprob) for score in model.scores([s for s in strings if len(s) < 4], eos=True)]
    going = [(score.text, score.logprob) for score in model.scores([s for s in strings if len(s) == 4], eos=False)]
    best = sorted(ended + going, key=lambda pair: -pair[1])
    found = model.beam(400, length=4)[:width]
    assert [sample.text for sample in found] == [text for text, _ in best[:width]]
    assert [sample.logprob for sample in found] == pytest.approx([logprob for _, logprob in best[:width]], rel=1e-5)
    assert all((sample.ended == "eos") == (len(sample.text) < 4) for sample in found)
    narrow = model.beam(width, length=4)
    assert len(narrow) == width
    for sample in narrow:
        eos = sample.ended == "eos"
        assert sample.logprob == pytest.approx(model.score(sample.text, eos=eos).logprob, rel=1e-5)


def test_a_beam_of_one_is_the_most_probable_token_each_time():
    model = tiny_model("abc", spread=1.0)
    assert model.beam(1, length=20, prompt="ab")[0].text == model.sample(20, prompt="ab", temperature=0)


def test_a_text_does_not_depend_on_the_batches_that_texts_are_drawn_in(monkeypatch):
    model = tiny_model("abc", spread=1.0)
    expected = list(model.samples(50, SamplingConfig(20), seed=9))
    for batch in (1, 7, 50):
        monkeypatch.setattr(writing, "_BATCH", batch)
        assert [s.text for s in model.samples(50, SamplingConfig(20), seed=9)] == [s.text for s in expected]


@pytest.mark.parametrize("cell", CELLS)
def test_a_seed_gives_the_same_texts_on_any_number_of_threads(cell, monkeypatch):
    """To the bit, log-probabilities included, where the compiled loops read; within rounding elsewhere."""
    monkeypatch.setattr(numpy_engine, "WORTH_SHARING", 0)
    one, three = (tiny_model("abc", cell=cell, layers=2, spread=1.0, threads=threads) for threads in (1, 3))
    alone, shared = (list(model.samples(20, SamplingConfig(30), seed=9)) for model in (one, three))
    assert [sample.text for sample in alone] == [sample.text for sample in shared]
    logprobs = [[sample.logprob for sample in samples] for samples in (alone, shared)]
    assert logprobs[0] == (logprobs[1] if kernel.target != "numpy" else pytest.approx(logprobs[1], rel=1e-5))


def test_a_model_goes_to_another_process_as_arrays_and_json():
    model = tiny_model("abc", cell="lstm", layers=2)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.score("abcab").logprob == model.score("abcab").logprob
    assert copy.sample(30, seed=1) == model.sample(30, seed=1)
    assert copy.facts == model.facts


pieces = st.text(alphabet="abn \n", max_size=12)


@given(st.lists(pieces, max_size=4), pieces)
def test_the_longest_copied_run_is_the_longest_within_a_sequence(sequences, text):
    runs = [text[i:j] for i in range(len(text)) for j in range(i, len(text) + 1)]
    runs = [run for run in runs if any(run in sequence for sequence in sequences)]
    for kind in (LINE, PARAGRAPH, DOCUMENT):
        novelty = Novelty(sequences, kind)
        found = novelty.longest_run(text)
        assert found == "" or found in runs
        assert len(found) == max(map(len, runs), default=0)
        within = any(text in sequence for sequence in sequences)
        assert not text or novelty.copied(text) == (
            within if kind is DOCUMENT else text in sequences
        )
