"""The model in the page, its script run in Node, against Python's: forward pass, tokenizers,
counts, drawing."""

import json
import unicodedata
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from charlm.config import NO_TOKEN
from charlm.counts.kneser_ney import count_text
from charlm.counts.labelled import LabelCounts
from charlm.errors import UsageError
from charlm.nn.model import LanguageModel, shapes
from charlm.nn.params import Params
from charlm.nn.stack import zero_state
from charlm.page.weights import WEIGHTS, Inside
from charlm.sampling import SamplingConfig, probabilities
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS, ByteTokenizer, CharTokenizer, WordTokenizer
from tests.test_counts_model import KINDS, WEIGHT, alone, ids_of, with_counts
from tests.tiny import CELLS, SHAPES, tiny_labelled, tiny_model

FILES = ["frame.js", "tokenizer.js", "model.js"]
# For each model and each of its texts: log p in nats of each token, and of the end where that is
# scored.
SCORES = """
print(given.map(({ data, texts, label }) => {
  const model = page.model(data);
  return texts.map((text) => {
    const ids = model.parts(text).map(([, id]) => id).filter((id) => id >= 0);
    let state = model.begin(label);
    return [...ids, ...(data.end ? [0] : [])].map((id) => {
      const logp = model.logp(state)[id];
      state = model.after(state, id);
      return logp;
    });
  });
}));
"""
TEXTS = ["", "a", "abba", "babaabab" * 4, "xa\nb"]


def precise(model, text):
    """Return log p of each token of a text and its end, computed in float64."""
    ids = [*model.tokenizer.encode(text).tolist(), 0]
    params = Params(shapes(model.config), np.float64)
    for name, value in model.trained.tensors().items():
        params[name][...] = value
    inputs, targets = (
        np.array([[NO_TOKEN], *([token] for token in ids[:-1])]),
        np.array(ids)[:, None],
    )
    state = zero_state(model.config, 1, np.float64)
    logp, _ = LanguageModel(model.config).log_probs(params, inputs, targets, None, state)
    return logp[:, 0].tolist()


@pytest.mark.parametrize("cell", CELLS)
def test_the_forward_pass_is_python_s_in_float64(cell, in_node):
    models = [
        tiny_model(layers=layers, seed=layers, **({"hidden": 7} | CELLS[cell] | shape))
        for shape in SHAPES.values()
        for layers in (1, 3)
    ]
    given = [{"data": Inside.of(model, "float32").data, "texts": TEXTS} for model in models]
    for model, found in zip(models, in_node(FILES, SCORES, given), strict=True):
        for text, logp in zip(TEXTS, found, strict=True):
            assert logp == pytest.approx(precise(model, text), rel=1e-9, abs=1e-9)


def labelled_with_counts():
    """Return a model of three labels with counts of their own."""
    model = tiny_labelled("abc")
    every, *own = (
        count_text(Part.from_ids(ids_of(model, seed=seed)), model.tokenizer.size, 3, EOS)
        for seed in range(4)
    )
    counts = LabelCounts(every, own, 0.25)
    return type(model)(model.trained, model.config, model.language, model.facts, counts, WEIGHT)


SCORED = {
    **{f"{cell} {weights}": (tiny_model(spread=1, **shape), weights, None)
       for (cell, shape), weights in zip(CELLS.items(), WEIGHTS * 2, strict=True)},
    **{f"{weights} deep": (tiny_model(layers=3, spread=1, residual=True, layer_norm=True), weights, None)
       for weights in WEIGHTS},
    **{f"counts, {name}": (with_counts(tiny_model(**kind)), "float16", None) for name, kind in KINDS.items()},
    "counts alone": (alone(with_counts(tiny_model())), "float16", None),
    "labels": (tiny_labelled(), "float16", 1),
    "labels with counts": (labelled_with_counts(), "float16", 1),
    "labels one-hot": (tiny_labelled(embedding=0), "int8", 2),
}  # fmt: skip


def test_a_score_is_that_of_charlm_score_with_the_rounded_weights(in_node):
    """In all kinds of text, with labels and with counts, to 1e-4 nats a character."""
    insides = [Inside.of(model, weights) for model, weights, _ in SCORED.values()]
    given = [
        {"data": json.loads(json.dumps(inside.data)), "texts": TEXTS} | ({} if label is None else {"label": label})
        for inside, (_, _, label) in zip(insides, SCORED.values(), strict=True)
    ]  # fmt: skip
    answers = in_node(FILES, SCORES, given)
    for name, inside, found in zip(SCORED, insides, answers, strict=True):
        model, label = inside.model, SCORED[name][2]
        model = model if label is None else model.given(model.labels[label])
        for text, logp in zip(TEXTS, found, strict=True):
            score = model.score(text)
            assert len(logp) == score.tokens, name
            limit = 1e-4 * max(1, len(logp)) + 1e-6 * abs(score.logprob)  # relu knows no bounds
            assert sum(logp) == pytest.approx(score.logprob, abs=limit), name


ODD = "\0\x1c\x85\ufeff\u2028\udc80\u200b\u200c\u200d\u0301\u09bfΣσςİßÄẞ'’-‐‑_a1²Ⅷ中の🏽👩🔬🇩🇪<unk>\n \t"
JOINED = [
    "don't rock-'n'-roll",
    "👩🏽\u200d🔬\u200d👩",
    "_\u0301_",
    "কী বাংলা",
    "<unk><unk>.",
    "ΑΣ ΑΣΑ. Σ",
    "a\n\nb",
]


def random_texts(count):
    """Return texts of code points that the Unicode of this Python knows, near ones side by side."""
    rng = np.random.default_rng(1)
    known = [chr(point) for point in range(0x110000) if unicodedata.category(chr(point)) != "Cn"]
    texts = []
    for _ in range(count):
        start, few = rng.integers(len(known)), rng.integers(len(known), size=6)
        near = known[start : start + 20]
        texts.append("".join(rng.choice([*near, *ODD, *(known[k] for k in few)], size=40)))
    return [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]


def vocabulary(texts, find):
    counts = Counter(piece for text in texts for piece in find(text))
    return [piece for piece, _ in counts.most_common(len(counts) * 2 // 3) if piece != "<unk>"]


def tokenizers(texts):
    """Return one of each rule, that knows two thirds of the texts' pieces."""
    for lowercase in (False, True):
        yield CharTokenizer(vocabulary(texts, CharTokenizer([], lowercase).pieces), lowercase)
        for punctuation, newline in ((True, False), (True, True), (False, False)):
            rule = (lowercase, punctuation)
            words = vocabulary(texts, WordTokenizer(["\n"], *rule).pieces)
            kept = [word for word in words if word != "\n"] + ["\n"] * newline
            yield WordTokenizer(kept, *rule)
    yield ByteTokenizer()
    yield WordTokenizer(["a", "b,", "."], word_pattern=r"\S+")


PARTS = """
print(given.map(({ text: rule, texts }) => {
  const tokenizer = page.tokenizer(rule);
  return texts.map((text) => {
    const parts = tokenizer.parts(text), decode = tokenizer.decoder();
    const ids = parts.map(([, id]) => id).filter((id) => id >= 0);
    return [parts.map(([piece]) => piece).join(""), ids, [...ids, null].map(decode).join("")];
  });
}));
"""


def test_texts_become_ids_and_ids_texts_as_in_python(in_node):
    from charlm.page.weights import _text  # what a page has of a tokenizer

    texts = [*random_texts(300), *JOINED, "He said \"it's (a) b,\" -- 'so' … 5%", "", "a--b~~c"]
    rules = list(tokenizers(texts))
    given = [{"text": _text(rule), "texts": texts} for rule in rules]
    for rule, answers in zip(rules, in_node(FILES, PARTS, given), strict=True):
        for text, (whole, ids, decoded) in zip(texts, answers, strict=True):
            assert ids == rule.encode(text).tolist(), (rule.to_dict()["tokenizer"], text)
            expected = (
                rule.decode(ids).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            )
            assert decoded == expected
            if rule.lossless and (rule.kind != "word" or rule.newline is not None):
                assert whole == text


def test_no_pattern_of_a_model_reaches_the_page():
    tokenizer = WordTokenizer(["a"], word_pattern=r"(a+)+|\w")
    model = tiny_model(words=True)
    model = type(model)(
        model.trained, model.config, replace(model.language, tokenizer=tokenizer), {}
    )
    assert "(a+)+" not in json.dumps(Inside.of(model).data)
    assert Inside.of(model).data["text"]["split"] is True


DRAW = """
const count = 2000;
print(given.map(({ logp, temperature, topK, topP, may }) => {
  const drawn = logp.map(() => 0);
  for (let k = 0; k < count; k++)
    drawn[page.draw(Float64Array.from(logp), (id) => may[id], temperature, topK, topP, () => (k + 0.5) / count)]++;
  return drawn.map((n) => n / count);
}));
"""


def test_drawing_follows_temperature_top_k_and_top_p_as_the_command_does(in_node):
    rng = np.random.default_rng(0)
    given, expected = [], []
    for temperature in (0, 0.5, 1, 2):
        for top_k in (None, 1, 3):
            for top_p in (None, 0.2, 0.7):
                logp = np.log(rng.dirichlet(np.ones(8)))
                may = rng.random(8) < 0.8
                may[1], may[2] = False, True
                config = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
                expected.append(probabilities(logp, config, allowed=may))
                limits = {"temperature": temperature, "topK": top_k or 0, "topP": top_p or 0}
                given.append({"logp": logp.tolist(), "may": may.tolist()} | limits)
    for p, found in zip(expected, in_node([*FILES, "drawing.js"], DRAW, given), strict=True):
        np.testing.assert_allclose(found, p, atol=1.01e-3)


def test_grapheme_clusters_are_whole_and_their_values_summed(in_node):
    code = "print(given.map((pieces) => page.whole(pieces)));"
    family = [["👩", 1], ["\u200d", 2], ["👩", 4], ["e", 8], ["\u0301", 16], [" ", None], ["x", 32]]
    parts_of_bytes = [["", 1], ["é", 2], ["a", 4]]
    first, second = in_node([*FILES, "drawing.js"], code, [family, parts_of_bytes])
    assert first == [["👩\u200d👩", 7], ["e\u0301", 24], [" ", None], ["x", 32]]
    assert second == [["é", 3], ["a", 4]]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_are_rounded_as_said(weights):
    model = tiny_model(layers=2)
    inside = Inside.of(model, weights)
    errors = {
        name: np.abs(inside.model.trained.tensors()[name] - value)
        for name, value in model.trained.tensors().items()
    }
    assert (weights == "float32") == (max(error.max() for error in errors.values()) == 0)
    for name, value in model.trained.tensors().items():
        if weights == "float16":
            assert (errors[name] <= np.abs(value) * 2.0**-11 + 2.0**-25).all()
        elif weights == "int8" and value.ndim == 2:
            most = np.abs(value).max(axis=1, keepdims=True)
            assert (errors[name] <= most / 254 * 1.001).all()
            assert errors[name].max() > 0
    assert model.score("abba").logprob == tiny_model(layers=2).score("abba").logprob


def test_a_weight_too_large_for_float16_is_refused():
    model = tiny_model()
    tensors = model.trained.tensors()
    tensors["head.bias"][0] = 1e5
    model.trained.load(tensors)
    with pytest.raises(UsageError, match=r"head.bias .* --weights float32"):
        Inside.of(model)
    assert Inside.of(model, "int8").model.score("ab").logprob == pytest.approx(
        model.score("ab").logprob, rel=0.1
    )


def test_the_cost_is_that_of_the_page_s_model_on_whole_texts(monkeypatch):
    from charlm.page import weights

    model = with_counts(tiny_model())
    text = Part.from_ids(ids_of(model, 400, seed=5))
    monkeypatch.setattr(weights, "MOST_MEASURED", 100)
    monkeypatch.setattr(weights, "COUNTS_BYTES", 200)
    inside = Inside.of(model, "int8")
    cost = inside.cost(model, text)
    texts = [model.tokenizer.decode(ids) for ids in np.split(text.read(0, 99), range(8, 99, 9))]
    for found, expected in ((cost.original, model), (cost.cut, inside.model)):
        total = sum(float(score) for score in expected.scores(texts[:11], True))
        assert found == pytest.approx(-total / cost.tokens, rel=1e-6)
    assert cost.tokens == 99
    assert len({cost.original, cost.rounded, cost.cut}) == 3


def test_all_tables_of_labels_are_cut_and_their_order_may_differ(monkeypatch):
    from charlm.page import weights

    model = labelled_with_counts()
    monkeypatch.setattr(weights, "COUNTS_BYTES", 500)
    inside = Inside.of(model)
    assert inside.bytes[1] < 1000
    for before, after in zip(model.counts.tables, inside.model.counts.tables, strict=True):
        assert 0 < sum(after.ngrams()[1:]) < sum(before.ngrams()[1:])
    scores = [each.given("yes").score("abcab").logprob for each in (model, inside.model)]
    assert scores[0] == pytest.approx(scores[1], abs=2)
    assert scores[0] != scores[1]
    assert len(inside.data["counts"]) == 4


def test_counts_take_no_more_of_the_page_than_is_said(monkeypatch):
    from charlm.page import weights

    model = with_counts(tiny_model("abcdef"))
    monkeypatch.setattr(weights, "COUNTS_BYTES", 1000)
    inside = Inside.of(model)
    assert 800 < inside.bytes[1] <= 1000
    assert sum(inside.model.counts.ngrams()) < sum(model.counts.ngrams())
