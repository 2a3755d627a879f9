"""Python callers: a wrong type or a number out of range is answered with the argument's name, before any work."""

import math
import re

import numpy as np
import pytest

import charlm
from charlm.config import ModelConfig
from charlm.engines.numpy import NumpyEngine
from charlm.errors import UsageError
from charlm.language import Language
from charlm.model import Model, mix
from charlm.sampling import SamplingConfig
from charlm.text.tokenizers import ByteTokenizer
from tests.tiny import tiny_model

MODEL = tiny_model("abc", spread=0.3)
STATE = MODEL.begin_state()
NOT_TEXTS = [None, b"ab", 1, ["ab"], 1.5, True, np.str_]
NOT_NUMBERS = [None, "2", b"2", [2], True, np.bool_(True), 1 + 0j, math.nan]
NOT_WHOLE = [*NOT_NUMBERS, 2.0, np.float32(2)]


def assert_named(call, argument, value):
    """Check that a call refuses a value by TypeError or UsageError with the argument's name, at once."""
    with pytest.raises((TypeError, UsageError)) as caught:
        call(value)
    assert re.search(argument.replace("_", "[-_]"), str(caught.value)), str(caught.value)
    assert len(str(caught.value)) < 200


TEXTS = {
    "prompt": [
        lambda x: MODEL.sample(prompt=x), lambda x: MODEL.stream(prompt=x), lambda x: MODEL.samples(1, prompt=x),
        lambda x: MODEL.matching(1, bool, prompt=x), lambda x: MODEL.beam(2, prompt=x),
        lambda x: MODEL.next_tokens(x), lambda x: MODEL.begin_state(x),
    ],
    "text": [
        lambda x: MODEL.score(x), lambda x: MODEL.full_scores(x), lambda x: MODEL.perplexity(x),
        lambda x: MODEL.surprisal(x), lambda x: list(MODEL.scores(["a", x])), lambda x: MODEL.unknown_in(x),
    ],
    "token": [lambda x: MODEL.base_score(STATE, x)],
    "starts_with": [lambda x: SamplingConfig(starts_with=x)],
    "unk": [lambda x: SamplingConfig(unk=x), lambda x: MODEL.beam(2, unk=x)],
    "engine": [lambda x: charlm.load("m", engine=x)],
    "device": [lambda x: charlm.load("m", device=x)],
}  # fmt: skip
WHOLE = {
    "length": [
        lambda x: MODEL.sample(length=x), lambda x: MODEL.stream(length=x), lambda x: MODEL.beam(2, length=x),
        lambda x: SamplingConfig(length=x),
    ],
    "count": [lambda x: MODEL.samples(x), lambda x: MODEL.matching(x, bool)],
    "tries": [lambda x: MODEL.matching(1, bool, tries=x)],
    "width": [lambda x: MODEL.beam(x)],
    "window": [lambda x: MODEL.cached(x)],
    "order": [lambda x: MODEL.counting(x)],
}  # fmt: skip
REAL = {
    "temperature": [lambda x: MODEL.sample(temperature=x), lambda x: SamplingConfig(temperature=x)],
    "repetition_penalty": [lambda x: MODEL.sample(repetition_penalty=x)],
    "lr": [lambda x: MODEL.dynamic(x)],
    "weights": [lambda x: mix([MODEL], [x])],
}


def pairs(calls, values):
    return [(call, name, value) for name, every in calls.items() for call in every for value in values]


@pytest.mark.parametrize(("call", "name", "value"), [
    *pairs(TEXTS, NOT_TEXTS),
    *pairs(WHOLE, [*NOT_WHOLE, -1]),
    *pairs({"count": WHOLE["count"], "tries": WHOLE["tries"], "width": WHOLE["width"]}, [0]),
    *pairs(REAL, [*NOT_NUMBERS, -1.0, math.inf, 10**400]),
])  # fmt: skip
def test_what_cannot_be_is_refused_by_name(call, name, value):
    assert_named(call, name, value)


OPTIONAL = [
    ("seed", lambda x: MODEL.sample(seed=x), [-1, *NOT_WHOLE[1:]]),
    ("seed", lambda x: MODEL.samples(1, seed=x), [-1, *NOT_WHOLE[1:]]),
    ("top_k", lambda x: SamplingConfig(top_k=x), [0, *NOT_WHOLE[1:]]),
    ("lines", lambda x: SamplingConfig(lines=x), [0, *NOT_WHOLE[1:]]),
    ("top_p", lambda x: SamplingConfig(top_p=x), [0, 1.1, *NOT_NUMBERS[1:]]),
    ("min_p", lambda x: SamplingConfig(min_p=x), [0, 1.1, *NOT_NUMBERS[1:]]),
    ("stop", lambda x: SamplingConfig(stop=x), ["", *NOT_TEXTS[1:]]),
    ("lr", lambda x: MODEL.cached(5, x), [0, 1.5, *NOT_NUMBERS[1:]]),
    ("eos", lambda x: MODEL.score("a", eos=x), [0, 1, "yes", 1.0]),
    ("per_token", lambda x: MODEL.score("a", per_token=x), [None, 0, "no"]),
    ("threads", lambda x: charlm.load("m", threads=x), [0, -1, *NOT_WHOLE[1:]]),
    ("config", lambda x: MODEL.samples(1, x), [{"length": 3}, 5, "a"]),
    ("config", lambda x: MODEL.matching(1, bool, x), [{"length": 3}]),
    ("accept", lambda x: MODEL.matching(1, x), [None, "ab", re.compile("a")]),
    ("path", charlm.load, [None, b"m", 3, ""]),
    ("path", MODEL.save, [None, b"m", 3, ""]),
    ("texts", lambda x: MODEL.scores(x), ["abc", b"abc", None, 3]),
    ("models", lambda x: mix(x, [1.0]), [[None], ["a"], [], None, MODEL]),
    ("weights", lambda x: mix([MODEL], x), [None, 1.0, "a", [0.5], [0.5, 0.5]]),
    ("state", lambda x: MODEL.base_score(x, "a"), [None, STATE.hidden]),
]


@pytest.mark.parametrize(("name", "call", "values"), OPTIONAL)
def test_what_may_be_left_out_is_checked_where_it_is_given(name, call, values):
    for value in values:
        assert_named(call, name, value)


def test_numbers_of_numpy_are_numbers():
    config = SamplingConfig(np.int64(5), np.float32(0.5), top_k=np.uint8(2), top_p=np.float64(0.5), lines=np.int32(3))
    assert config == SamplingConfig(5, 0.5, top_k=2, top_p=0.5, lines=3)
    assert {type(config.length), type(config.top_k)} == {int}
    assert type(config.temperature) is type(SamplingConfig(temperature=1).temperature) is float
    same = [sample.text for sample in MODEL.samples(3, SamplingConfig(9), seed=7)]
    assert [sample.text for sample in MODEL.samples(np.int16(3), SamplingConfig(9), seed=np.uint64(7))] == same
    assert MODEL.score("ab", eos=np.True_) == MODEL.score("ab", eos=True)
    assert [float(one) for one in MODEL.scores(np.array(["ab", "c"]))] == [float(MODEL.score(t)) for t in ("ab", "c")]


def test_texts_may_be_any_iterable_and_are_taken_as_they_are_scored():
    taken = []

    def endless():
        while True:
            taken.append("ab")
            yield "ab"

    scores = MODEL.scores(endless(), ready=lambda: False)
    assert float(next(scores)) == float(MODEL.score("ab"))
    assert len(taken) == 1
    assert list(MODEL.scores(())) == []
    with pytest.raises(TypeError, match=r"texts\[1\] must be a str, not bytes: decode it first"):
        list(MODEL.scores(["ab", b"ab"]))


def test_half_a_character_is_refused_by_a_model_of_bytes_and_unknown_to_others():
    tokenizer = ByteTokenizer()
    config = ModelConfig(tokenizer.size, hidden=4, embedding=2)
    model = Model(NumpyEngine(config, 1), config, Language(tokenizer, "line", "sequence"), {})
    calls = [
        model.score, lambda x: list(model.scores(["a", x])), lambda x: model.sample(prompt=x), model.next_tokens,
        lambda x: model.sample(starts_with=x), lambda x: model.base_score(model.begin_state(), x), model.unknown_in,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(UsageError, match=r"'\\ud800', half of a character"):
            call("a\ud800")
    assert model.score("a\udcff").tokens == 2 + model.counts_eos()
    assert MODEL.score("a\ud800").unknown == 1
