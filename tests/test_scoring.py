"""Scores: identities of probability, of the figures made from them, and of batches."""

import itertools
import math

import numpy as np
import pytest

from charlm.cells import CELLS
from charlm.comparison import compare
from charlm.config import ModelConfig
from charlm.engines.numpy import NumpyEngine
from charlm.errors import UsageError
from charlm.language import Language
from charlm.model import Model, mix
from charlm.sampling import SamplingConfig
from charlm.scoring import Score, evaluate
from charlm.text import windows as text_windows
from charlm.text.batches import Context
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS, UNK, ByteTokenizer, CharTokenizer, WordTokenizer
from tests.tiny import tiny_model


def log_p(model, ids, eos):
    """Return log p of ids, read token by token through `logits`, in float64: a second way to the same number."""
    engine, start = model.engine, model.language.start.first_input
    state, previous, total = engine.zero_state(1), start, 0.0
    for token in [*ids, *([EOS] if eos else [])]:
        logits, state = engine.logits(np.array([[previous]], np.int32), state)
        exact = logits[0].astype(np.float64)
        total += exact[token] - np.logaddexp.reduce(exact)
        previous = token
    return total


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("context", ["sequence", "newline", "stream"])
@pytest.mark.parametrize("eos", [True, False])
def test_a_score_is_the_chain_rule(cell, context, eos):
    sequences = "document" if context == "newline" else "line"
    model = tiny_model("abc\n", sequences, context, cell=cell, layers=2)
    for text in ("a", "cab", "abcabcabccba" * 20):
        score = model.score(text, eos=eos, per_token=True)
        ids = model.tokenizer.encode(text).tolist()
        assert score.logprob == pytest.approx(log_p(model, ids, eos), rel=1e-5)
        assert math.fsum(token.logprob for token in score.per_token) == pytest.approx(score.logprob, rel=1e-12)
        assert score.tokens == len(text) + eos


@pytest.mark.parametrize("cell", CELLS)
def test_all_next_tokens_together_have_probability_one(cell):
    """p(x a) + p(x b) + p(x <unk>) + p(x EOS) = p(x), for each prefix x; "?" is unknown to the model."""
    model = tiny_model("ab", cell=cell)
    for prefix in ("", "a", "ba", "?b"):
        whole = math.exp(model.score(prefix, eos=False).logprob) if prefix else 1.0
        parts = [model.score(prefix + token, eos=False).logprob for token in "ab?"]
        parts.append(model.score(prefix, eos=True).logprob)
        assert math.fsum(map(math.exp, parts)) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("context", ["sequence", "stream"])
def test_all_strings_and_the_mass_left_have_probability_one(cell, context):
    """Strings of up to 4 tokens with their EOS, and the 4-token prefixes that go on, share out all there is."""
    model = tiny_model("ab", cell=cell, context=context)
    strings = ["".join(s) for n in range(5) for s in itertools.product("ab?", repeat=n)]
    ended = [score.logprob for score in model.scores(strings, eos=True)]
    longest = [s for s in strings if len(s) == 4]
    begun = [score.logprob for score in model.scores(longest, eos=False)]
    just_ended = [score.logprob for score in model.scores(longest, eos=True)]
    left = math.fsum(map(math.exp, begun)) - math.fsum(map(math.exp, just_ended))
    assert left > 0.01
    assert math.fsum(map(math.exp, ended)) + left == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_text_scores_the_same_in_any_company(threads, monkeypatch):
    """Alone, in a crowd, across windows and chunks, in any order, on any number of threads."""
    rng = np.random.default_rng(4)
    texts = ["".join(rng.choice(list("abc"), rng.integers(0, 90))) for _ in range(60)]
    alone = [tiny_model("abc", cell="lstm").score(text).logprob for text in texts]
    model = tiny_model("abc", cell="lstm", threads=threads)
    for texts_at_once, tokens_at_once in ((4096, 1 << 18), (7, 1 << 18), (4096, 100)):
        monkeypatch.setattr(text_windows, "_TEXTS", texts_at_once)
        monkeypatch.setattr(text_windows, "_TOKENS", tokens_at_once)
        scores = list(model.scores(reversed(texts)))[::-1]
        assert [score.text for score in scores] == texts
        np.testing.assert_allclose([score.logprob for score in scores], alone, rtol=1e-5)


@pytest.mark.parametrize("tokenizer", [
    CharTokenizer(list("abi\u0307\u0130\U0001f600")), CharTokenizer(list("abi\u0307"), lowercase=True), ByteTokenizer(),
    WordTokenizer(["a", "b"]),
])  # fmt: skip
def test_texts_of_a_window_are_encoded_as_each_alone(tokenizer, monkeypatch):
    """Also where lowering makes two characters of one, and where halves of a pair meet at the end
    of a text.
    """
    halves = ["\ud83d", "\ude00b"] if tokenizer.kind == "char" else []
    texts = ["", "a b", "\u0130b", "\U0001f600", "\udc80", "", *halves, "bc", "a\nb"]
    for at_once in (1, 2, 100):
        monkeypatch.setattr(text_windows, "_TEXTS", at_once)
        found = [
            each
            for window in text_windows.windows(iter(texts), tokenizer, lambda: True)
            for each in window
        ]
        assert [text for text, _ in found] == texts
        for text, ids in found:
            np.testing.assert_array_equal(ids, tokenizer.encode(text))


def test_scores_come_while_texts_still_arrive(monkeypatch):
    """A pipe's first lines are answered before its last is there: no more than a window is held."""
    monkeypatch.setattr(text_windows, "_TEXTS", 3)
    seen = []

    def lines():
        for number in range(10):
            seen.append(number)
            yield "ab"

    next(tiny_model().scores(lines()))
    assert len(seen) <= 4


@pytest.mark.parametrize("context", ["sequence", "stream"])
def test_evaluation_of_lines_is_the_sum_of_their_scores(context):
    """In sequence context every line stands alone; in stream context the first does, and state carries on."""
    model = tiny_model("abc", context=context)
    lines = ["abc", "c", "bbca", "aab"]
    encoded = [model.tokenizer.encode(line).tolist() for line in lines]
    part = Part.from_ids(list(itertools.chain.from_iterable([*ids, EOS] for ids in encoded)))
    loss = evaluate(model.engine, part, model.language.start, False)
    assert loss.count == sum(len(line) + 1 for line in lines)
    if context == "sequence":
        total = sum(model.score(line).logprob for line in lines)
    else:
        run = list(itertools.chain.from_iterable([*ids, EOS] for ids in encoded))
        total = log_p(model, run, eos=False)
    assert -loss.nats == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("context", ["sequence", "newline"])
def test_evaluation_of_a_document_leaves_its_eos_out(context):
    model = tiny_model("abc\n", "document", context)
    text = "abc\ncab\n" * 30
    ids = model.tokenizer.encode(text).tolist()
    loss = evaluate(model.engine, Part.from_ids([*ids, EOS]), model.language.start, True)
    assert loss.count == len(text)
    assert -loss.nats == pytest.approx(log_p(model, ids, eos=False), rel=1e-5)
    assert model.score(text).logprob == pytest.approx(-loss.nats, rel=1e-5)


def test_a_long_document_is_read_in_columns_with_a_warm_up():
    """The columns' scores equal the whole's, where the model forgets within the 256 tokens of the warm-up."""
    model = tiny_model("abc", sequences="document", spread=0.4)
    ids = np.random.default_rng(0).integers(2, 5, 5000)
    loss = evaluate(model.engine, Part.from_ids([*ids, EOS]), Context(), True)
    assert loss.count == 5000
    assert -loss.nats == pytest.approx(log_p(model, ids.tolist(), eos=False), rel=1e-6)


def test_unknown_tokens_are_counted_and_told_apart():
    model = tiny_model("ab")
    score = model.score("a?b?", per_token=True)
    unknown = [token for token in score.per_token if token.unknown]
    assert score.unknown == len(unknown) == 2
    assert [token.token for token in score.per_token] == ["a", "?", "b", "?", "<eos>"]
    known = math.fsum(token.logprob for token in score.per_token if not token.unknown)
    assert score.perplexity_known == pytest.approx(math.exp(-known / 3))
    assert score.perplexity == pytest.approx(math.exp(-score.logprob / 5))
    part = Part.from_ids([*model.tokenizer.encode("a?b?"), EOS])
    loss = evaluate(model.engine, part, Context(), False)
    assert (loss.count, loss.unknown) == (5, 2)
    assert loss.mean_known == pytest.approx(-known / 3, rel=1e-6)


def test_figures_by_hand():
    score = Score("abc", logprob=-6 * math.log(2), tokens=4, unknown=0, characters=3, eos=1)
    assert score.perplexity == pytest.approx(2**1.5)  # 6 bits over 4 tokens
    assert score.bits_per_char == pytest.approx(1.5)  # over 3 characters and 1 EOS
    assert score.log10 == pytest.approx(-6 * 0.30103, rel=1e-5)
    assert float(score) == score.logprob
    bit = math.log(2)
    total = score + Score("de", logprob=-2 * bit, tokens=2, unknown=1, unknown_logprob=-bit, characters=2)
    assert (total.tokens, total.unknown) == (6, 1)
    assert total.perplexity == pytest.approx(2 ** (8 / 6))
    assert total.perplexity_known == pytest.approx(2 ** (7 / 5))
    assert total.bits_per_char is None
    assert total.why_no_bits == "a token is unknown"


def test_figures_over_nothing_are_none():
    score = tiny_model().score("", eos=False)
    assert (score.tokens, score.logprob) == (0, 0)
    assert score.perplexity is score.perplexity_known is score.bits_per_char is None
    assert score.why_no_bits == "nothing was scored"
    assert math.isnan(tiny_model().perplexity("", eos=False))


def test_bits_per_char_need_all_of_the_text():
    keeps, loses = tiny_model(["a", "b"], words=True), tiny_model("ab")
    assert keeps.score("a b a").bits_per_char == pytest.approx(-keeps.score("a b a").logprob / math.log(2) / 6)
    loses.tokenizer.lossless = False
    assert loses.score("ab").why_no_bits == "the tokenizer drops information"


@pytest.mark.parametrize(("sequences", "eos"), [("line", True), ("document", False)])
def test_the_end_counts_for_lines_alone_unless_told(sequences, eos):
    model = tiny_model("ab", sequences=sequences)
    assert model.score("ab").tokens == 2 + eos
    assert model.score("ab", eos=not eos).tokens == 3 - eos


def test_what_kenlm_users_know():
    model = tiny_model("ab")
    tokens = list(model.full_scores("abba"))
    assert math.fsum(token.logprob for token in tokens) == pytest.approx(float(model.score("abba")))
    assert model.perplexity("abba") == pytest.approx(math.exp(-float(model.score("abba")) / 5))
    assert model.unknown_in("a?x") == ["?", "x"]
    assert model.tokenizer.encode("?").tolist() == [UNK]


@pytest.mark.parametrize("context", ["sequence", "newline", "stream"])
@pytest.mark.parametrize("text", ["", "a", "abba", "a?b"])
def test_token_by_token_is_the_whole(context, text):
    """kenlm's identity: what `base_score` gives from `begin_state` on adds up to the score, and is `full_scores`."""
    sequences = "document" if context == "newline" else "line"
    model = tiny_model("ab\n", sequences, context, cell="lstm", layers=2)
    state, parts = model.begin_state(), []
    for token in [*text, "<eos>"]:
        logprob, state = model.base_score(state, token)
        parts.append(logprob)
    score = model.score(text, eos=True, per_token=True)
    assert parts == pytest.approx([token.logprob for token in score.per_token], rel=1e-5)
    assert math.fsum(parts) == pytest.approx(float(score), rel=1e-5)
    expected = [-part / math.log(2) for part in parts]
    assert [bits for _, bits in model.surprisal(text, eos=True)] == pytest.approx(expected, rel=1e-5)
    assert state.logp == pytest.approx(model.begin_state().logp), "after its end a text begins anew"


def test_the_state_after_a_prompt_is_where_the_prompt_ends():
    model = tiny_model("ab")
    state = model.begin_state()
    for token in "abb":
        _, state = model.base_score(state, token)
    np.testing.assert_allclose(state.logp, model.begin_state("abb").logp, rtol=1e-5)
    with pytest.raises(UsageError, match="2 tokens of this model, not one"):
        model.base_score(state, "ab")


def test_next_tokens_are_all_there_are_the_best_first():
    model = tiny_model("ab")
    found = model.next_tokens("ab")
    assert set(found) == {"a", "b", "<unk>", "<eos>"}
    assert math.fsum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    for token in model.full_scores("ab", eos=True):
        assert token.alternatives == tuple(sorted(token.alternatives, key=lambda pair: -pair[1]))
    last = list(model.full_scores("ab", eos=True))[-1]
    assert [name for name, _ in last.alternatives] == list(found)[:3]
    assert last.logprob == pytest.approx(math.log(found["<eos>"]), rel=1e-5)
    assert last.rank == 1 + list(found).index("<eos>")


def test_a_mixture_adds_probabilities_at_every_token():
    one, two = tiny_model("ab", seed=1), tiny_model("ab", cell="lstm", layers=2, seed=2)
    mixture = mix([one, two], [0.7, 0.3])
    expected = 0.0
    for place, token in enumerate([*"abba", "<eos>"]):
        expected += math.log(sum(w * m.next_tokens("abba"[:place])[token] for w, m in ((0.7, one), (0.3, two))))
    assert mixture.score("abba", eos=True).logprob == pytest.approx(expected, rel=1e-5)
    assert math.fsum(mixture.next_tokens("ab").values()) == pytest.approx(1)
    assert mix([one, one], [0.4, 0.6]).score("abb").logprob == pytest.approx(one.score("abb").logprob, rel=1e-6)
    sample = next(mixture.samples(1, SamplingConfig(10), seed=1))
    score = mixture.score(sample.text, eos=sample.ended == "eos")
    assert sample.logprob == pytest.approx(score.logprob, rel=1e-5)


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.6], [1.5, -0.5], [1.0, 0.0]])
def test_weights_of_a_mixture_are_probabilities(weights):
    with pytest.raises(UsageError, match="positive weights that add up to 1"):
        mix([tiny_model("ab"), tiny_model("ab")], weights)


@pytest.mark.parametrize("other", [{"tokens": "abc"}, {"sequences": "document"}, {"context": "stream"}])
def test_only_models_of_one_vocabulary_are_mixed(other):
    with pytest.raises(UsageError, match="only where tokenizer, vocabulary"):
        mix([tiny_model("ab"), tiny_model(**({"tokens": "ab"} | other))], [0.5, 0.5])


def test_the_bootstrap_interval_is_that_of_the_mean():
    """For many normal differences it is the mean, give or take 1.96 standard errors."""
    rng = np.random.default_rng(0)
    second = rng.normal(-50, 9, 2000)
    first = second + rng.normal(0.1, 1.0, 2000)
    found = compare(first.tolist(), second.tolist())
    differences = first - second
    error = differences.std() / math.sqrt(2000)
    assert (found.texts, found.better) == (2000, (differences > 0).sum())
    assert found.mean == pytest.approx(differences.mean())
    assert found.total == pytest.approx(differences.sum())
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.15 * error)
    assert found == compare(first.tolist(), second.tolist())
    same = compare([-1.0, -2.0] * 5, [-1.5, -2.5] * 5)
    assert (same.low, same.mean, same.high) == (0.5, 0.5, 0.5)


def test_a_total_keeps_what_both_scores_have():
    bit = math.log(2)
    first = Score("ab", logprob=-8 * bit, tokens=2, unknown=0, characters=2, n_bytes=2)
    second = Score("c", logprob=-8 * bit, tokens=2, unknown=0, characters=1, eos=1, n_bytes=1)
    assert (first + second).bits_per_byte == pytest.approx(16 / 4)
    assert (first + second).bits_per_char == pytest.approx(16 / 4)
    other = Score("c", logprob=-bit, tokens=1, unknown=0, characters=1, lossless=False)
    for total in (first + other, other + first):
        assert total.bits_per_byte is None
        assert total.why_no_bits == "the tokenizer drops information"
    assert Score("", logprob=0.0, tokens=0, unknown=0, n_bytes=0).bits_per_byte is None


def test_tokens_know_whether_they_are_the_end():
    assert [token.end for token in tiny_model("ab").full_scores("ab")] == [False, False, True]
    assert [token.end for token in tiny_model("ab").full_scores("ab", eos=False)] == [False, False]


def test_bits_per_byte_are_of_byte_models_alone():
    assert tiny_model("ab").score("ab").bits_per_byte is None
    language = Language(ByteTokenizer(), "line", "sequence")
    config = ModelConfig(258, hidden=4, embedding=2)
    score = Model(NumpyEngine(config, 1), config, language, {}).score("ä\u20ac")
    assert (score.n_bytes, score.characters, score.eos) == (5, 2, 1)
    assert score.bits_per_byte == pytest.approx(-score.logprob / math.log(2) / 6)
    assert score.bits_per_char == pytest.approx(-score.logprob / math.log(2) / 3)
