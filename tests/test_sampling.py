"""Sampling: what is drawn follows the model's probabilities, and its reported log-probability is its score."""

import itertools
import math

import numpy as np
import pytest

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.engines.numpy import NumpyEngine
from charlm.errors import DataError, UsageError
from charlm.language import Language
from charlm.model import Model, rebuilt
from charlm.sampling import SamplingConfig, draw, generate, log_softmax, probabilities
from charlm.text.batches import Context
from charlm.text.tokenizers import EOS, UNK, ByteTokenizer, CharTokenizer
from tests.tiny import tiny_model

LOGITS = np.array([0.5, 1.0, 2.0, -0.5, 1.5, 0.0], np.float32)
P = np.exp(LOGITS.astype(float)) / np.exp(LOGITS.astype(float)).sum()
NO_PROMPT = np.zeros(0, np.int32)


class FixedEngine:
    """Gives the same logits whatever was read."""

    normalized = False

    def zero_state(self, batch):
        return batch

    def select(self, state, columns):
        return len(columns)

    def logits(self, inputs, state):
        assert inputs.shape[1] == state
        return np.repeat(LOGITS[None], state, axis=0), state


def zeroed(p, *tokens):
    """Return probabilities with some tokens ruled out."""
    kept = p.copy()
    kept[list(tokens)] = 0
    return kept / kept.sum()


# Most probable first: 2, 4, 1 (<unk>), 0, 5, 3.
EXPECTED = {
    "as they are": (SamplingConfig(length=1, unk="keep"), P),
    "unk rejected": (SamplingConfig(length=1), zeroed(P, UNK)),
    "cold": (SamplingConfig(length=1, unk="keep", temperature=0.5), P**2 / (P**2).sum()),
    "hot": (SamplingConfig(length=1, temperature=2.0), zeroed(np.sqrt(P), UNK)),
    "top 3": (SamplingConfig(length=1, unk="keep", top_k=3), zeroed(P, 0, 3, 5)),
    "top 2 without unk": (SamplingConfig(length=1, top_k=2), zeroed(P, 0, 1, 3, 5)),
    "min p": (SamplingConfig(length=1, unk="keep", min_p=float(P[4] / P[2]) * 0.999), zeroed(P, 0, 1, 3, 5)),
    "top p": (SamplingConfig(length=1, unk="keep", top_p=float(P[2] + P[4] / 2)), zeroed(P, 0, 1, 3, 5)),
    "top p exactly": (SamplingConfig(length=1, unk="keep", top_p=float(P[2]) * 0.999999), zeroed(P, 0, 1, 3, 4, 5)),
}


@pytest.mark.parametrize(("config", "expected"), EXPECTED.values(), ids=EXPECTED)
def test_filters_by_hand(config, expected):
    np.testing.assert_allclose(probabilities(log_softmax(LOGITS), config), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("config", "expected"), EXPECTED.values(), ids=EXPECTED)
def test_frequencies_pass_a_chi_square_test(config, expected):
    draws = 20_000
    (step,) = generate(FixedEngine(), Context(), NO_PROMPT, config, 7, range(draws))
    check_frequencies(np.bincount(step.ids, minlength=6), expected)


def test_frequencies_under_a_repetition_penalty_pass_it_too():
    """After a prompt of the tokens 2 and 5, whose log-probabilities are doubled."""
    config, draws = SamplingConfig(length=1, unk="keep", repetition_penalty=2.0), 20_000
    (step,) = generate(FixedEngine(), Context(), np.array([2, 5], np.int32), config, 7, range(draws))
    weights = np.where(np.isin(np.arange(6), [2, 5]), P**2, P)
    check_frequencies(np.bincount(step.ids, minlength=6), weights / weights.sum())


def check_frequencies(observed, expected):
    """Compare counts with probabilities by a chi-square test."""
    draws, possible = observed.sum(), expected > 0
    assert not observed[~possible].any()
    chi2 = float(((observed - draws * expected)[possible] ** 2 / (draws * expected[possible])).sum())
    freedom = int(possible.sum()) - 1
    # Mean k and variance 2k: beyond five deviations (p about 1e-5 for these k) the frequencies are wrong.
    assert chi2 <= freedom + 5 * math.sqrt(2 * freedom) + 1e-9


def test_a_batched_draw_is_what_choice_draws():
    """Token for token the same as `Generator.choice` from generators of the same seeds, zeros among the odds too."""
    rng = np.random.default_rng(0)
    for vocabulary in (2, 65, 1000):
        p = rng.dirichlet(np.full(vocabulary, 0.3), size=300)
        p[rng.random(p.shape) < 0.3] = 0
        p[:, -1] += 1e-3
        p /= p.sum(axis=1, keepdims=True)
        chosen = [int(np.random.default_rng(k).choice(vocabulary, p=row)) for k, row in enumerate(p)]
        uniform = np.array([np.random.default_rng(k).random() for k in range(300)])
        assert draw(p, uniform).tolist() == chosen


def test_the_reported_log_probability_is_the_models_own():
    """Temperature and filters change what is drawn, not how probable the model finds it."""
    config = SamplingConfig(length=1, temperature=0.3, top_k=2)
    (step,) = generate(FixedEngine(), Context(), NO_PROMPT, config, 1, range(20))
    assert step.logprobs == pytest.approx(np.log(P[step.ids]).tolist(), rel=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("context", ["sequence", "stream"])
@pytest.mark.parametrize("prompt", ["", "ca"])
def test_the_score_of_a_sample_is_what_it_was_drawn_with(cell, context, prompt):
    model = tiny_model("abc", cell=cell, context=context, layers=2, spread=1.5, seed=1)
    kinds = set()
    for sample in model.samples(30, SamplingConfig(length=12), prompt, seed=3):
        kinds.add(sample.ended)
        before = model.score(prompt, eos=False).logprob
        after = model.score(sample.text, eos=sample.ended == "eos").logprob
        assert sample.logprob == pytest.approx(after - before, rel=1e-5)
        assert sample.tokens == len(sample.text) - len(prompt) + (sample.ended == "eos")
        assert (sample.ids[-1] == EOS) == (sample.ended == "eos")
        assert sample.tokens == 12 or sample.ended == "eos"
    assert kinds == {"eos", "length"}


@pytest.mark.parametrize("tokenizer", ["char", "byte", "word"])
@pytest.mark.parametrize("context", ["sequence", "newline", "stream"])
def test_an_unprompted_document_is_never_empty_and_scores_as_it_was_drawn(tokenizer, context):
    tokens = ["ab", "\n", "cd"] if tokenizer == "word" else "ab\n"
    model = tiny_model(tokens, "document", context, spread=1.0, words=tokenizer == "word")
    if tokenizer == "byte":
        model = byte_model(context)
    model.engine.params["head.bias"][EOS] += 2  # most would be empty
    first = model.begin_state().logp
    drawn = list(model.samples(64, SamplingConfig(length=12), seed=3))
    for sample in drawn:
        assert sample.ids[0] != EOS
        state, parts = model.begin_state(), []
        for token in sample.ids:
            parts.append(state.logp[token])
            state = model._state_after(np.array([token], np.int32), state.hidden)
        assert sample.logprob == pytest.approx(math.fsum(parts), rel=1e-5)
        if tokenizer != "byte":  # whose texts are not always UTF-8, and come back as other bytes
            score = model.score(sample.text, eos=sample.ended == "eos")
            assert score.logprob == pytest.approx(sample.logprob, rel=1e-5)
    assert {"eos"} <= {sample.ended for sample in drawn}
    assert all(model.sample(12, seed=seed) for seed in range(5))
    assert all(len(sample.ids) > 1 for sample in model.beam(3, 4))
    cut = [sample.text for sample in model.samples(64, SamplingConfig(length=12, lines=1), seed=3)]
    assert cut == [sample.text.split("\n")[0] for sample in drawn]
    config = SamplingConfig(length=1, unk="keep")
    counts = np.bincount([s.ids[0] for s in model.samples(4000, config, seed=1)], minlength=len(first))
    check_frequencies(counts, zeroed(np.exp(first), EOS))


def byte_model(context):
    tokenizer = ByteTokenizer()
    config = ModelConfig(tokenizer.size, hidden=6, embedding=4)
    return Model(NumpyEngine(config), config, Language(tokenizer, "document", context), {})


def test_a_prompted_document_a_line_and_a_model_without_a_token_may_end_at_once():
    document, line = (tiny_model("ab\n", sequences, spread=0.1) for sequences in ("document", "line"))
    for model, prompt in ((document, "a"), (line, ""), (line, "a"), (tiny_model("", "document"), "")):
        model.engine.params["head.bias"][EOS] += 50
        assert [sample.ids for sample in model.samples(3, prompt=prompt, seed=1)] == [(EOS,)] * 3
        assert model.beam(1, prompt=prompt)[0].ids == (EOS,)


def test_a_newline_as_context_is_what_a_text_goes_on_from():
    model = tiny_model("ab\n", "document", "newline", cell="lstm", layers=2)
    newline = np.array([[model.tokenizer.newline]], np.int32)
    logits, _ = model.engine.logits(newline, model.engine.zero_state(1))
    np.testing.assert_allclose(model.begin_state().logp, log_softmax(logits[0]), rtol=1e-6)
    assert model.next_tokens()["b"] == pytest.approx(math.exp(model.score("b").logprob), rel=1e-5)
    tensors, language = model.trained.tensors(), model.language.to_dict()
    other = Language.from_dict(language | {"context": "sequence"})
    assert other.start == Context()
    for wrong in ({"sequences": "line"}, {"context": "auto"}, {"tokenizer": CharTokenizer("ab").to_dict()}):
        with pytest.raises(DataError, match="context"):
            Language.from_dict(language | wrong)
    assert rebuilt(tensors, model.metadata()).language.start == model.language.start


def test_a_seed_gives_the_same_text_streamed_alone_or_in_a_batch():
    model = tiny_model("abc", spread=1.5)
    batch = [sample.text for sample in model.samples(8, SamplingConfig(length=30), "b", seed=5)]
    assert len(set(batch)) > 4
    assert batch == [sample.text for sample in model.samples(8, SamplingConfig(length=30), "b", seed=5)]
    assert batch[:3] == [sample.text for sample in model.samples(3, SamplingConfig(length=30), "b", seed=5)]
    assert model.sample(30, "b", seed=5) == batch[0]
    assert "".join(model.stream(30, "b", seed=5)) == batch[0]
    assert model.sample(30, "b", seed=6) != batch[0]


def test_without_a_seed_texts_differ():
    model = tiny_model("abc", spread=0.1)
    model.engine.params["head.bias"][EOS] = -50  # never ends: 3^40 texts, nearly equally likely
    assert len({model.sample(40) for _ in range(5)}) == 5


def test_unknown_is_written_only_when_kept():
    model = tiny_model("abc", spread=0.1)
    assert "<unk>" in "".join(model.sample(200, seed=seed, unk="keep") for seed in range(10))
    assert "<unk>" not in "".join(model.sample(200, seed=seed) for seed in range(10))


def test_a_line_model_refuses_a_newline_in_the_prompt():
    with pytest.raises(UsageError, match="single lines only"):
        tiny_model("ab").sample(prompt="a\nb")
    assert tiny_model("ab\n", sequences="document").sample(5, prompt="a\nb", seed=1).startswith("a\nb")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": -1}, "length must be 0"),
        ({"temperature": -0.1}, "temperature must be 0 or more"),
        ({"temperature": math.inf}, "temperature must be 0 or more"),
        ({"temperature": math.nan}, "temperature must be 0 or more"),
        ({"top_k": 0}, "top-k must be 1 or more"),
        ({"top_p": 0.0}, "top-p must be above 0"),
        ({"top_p": 1.5}, "top-p must be above 0"),
        ({"unk": "drop"}, "unk must be one of reject, keep"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        SamplingConfig(**settings)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("temperature", [5e-324, 1e-320, 1e-150])
def test_a_temperature_next_to_zero_takes_the_most_probable(temperature):
    for logits in (LOGITS, LOGITS * np.float32(1e37)):
        config = SamplingConfig(temperature=temperature, repetition_penalty=1.5, unk="keep")
        found = probabilities(log_softmax(logits), config, np.zeros(6, np.bool_))
        np.testing.assert_array_equal(found, zeroed(P, *(set(range(6)) - {int(P.argmax())})))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("penalty", [1e150, 1.7e308])
def test_a_penalty_beyond_measure_leaves_what_is_new(penalty):
    seen = np.array([False, True, True, False, False, True])
    config = SamplingConfig(repetition_penalty=penalty, temperature=0.5, unk="keep")
    np.testing.assert_allclose(probabilities(log_softmax(LOGITS), config, seen), zeroed(P**2, 1, 2, 5), rtol=1e-6)
    everything = probabilities(log_softmax(LOGITS), config, np.ones(6, np.bool_))
    np.testing.assert_array_equal(everything, zeroed(P, *(set(range(6)) - {int(P.argmax())})))


def test_log_probabilities_of_large_logits_do_not_overflow():
    logits = np.array([[1000.0, 999.0, -1000.0]], np.float32)
    expected = [-math.log1p(math.exp(-1)), -1 - math.log1p(math.exp(-1)), -2000 - math.log1p(math.exp(-1))]
    np.testing.assert_allclose(log_softmax(logits)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_a_beam_as_wide_as_all_ways_finds_the_most_probable_texts(seed):
    """Against all texts of at most 4 tokens, scored one by one."""
    model = tiny_model("ab", spread=1.5, seed=seed)
    texts = ["".join(letters) for length in range(5) for letters in itertools.product("ab", repeat=length)]
    for width in (3, 16):
        found = model.beam(16, 4)[:width]
        scores = {text: model.score(text, eos=len(text) < 4).logprob for text in texts}
        best = sorted(scores, key=scores.get, reverse=True)[:width]
        assert [sample.text for sample in found] == best
        assert [sample.logprob for sample in found] == pytest.approx([scores[text] for text in best], rel=1e-5)


def test_a_beam_without_an_end_is_refused():
    with pytest.raises(UsageError, match="length"):
        tiny_model("ab").beam(2, 0)


def test_tokens_that_are_all_but_impossible_keep_their_odds():
    """A start that is asked for may be one that the model finds no chance for."""
    logp = np.array([[0.0, -math.inf, -900.0, -901.0]])
    allowed = np.array([False, False, True, True])
    p = probabilities(logp, SamplingConfig(), None, allowed)
    np.testing.assert_allclose(p[0], [0, 0, 1 / (1 + math.exp(-1)), 1 / (1 + math.e)], rtol=1e-9)
