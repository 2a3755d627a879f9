"""Dynamic evaluation: it scores before it learns, and learns as the formula says."""

import itertools
import json
import math

import numpy as np
import pytest

from charlm import scoring
from charlm.cells import CELLS
from charlm.errors import UsageError
from charlm.model import mix
from charlm.scoring import evaluate
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS
from tests.test_commands import charlm
from tests.tiny import tiny_model

RATE = 0.01


def log_p(model, ids, rate=RATE):
    """Return log p of a document under dynamic evaluation."""
    loss = evaluate(model.dynamic(rate), Part.from_ids([*ids, EOS]), model.language.start, True)
    assert loss.count == len(ids)
    return -loss.nats


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_scored_was_not_yet_learnt(monkeypatch, cell):
    """The probabilities of all rows of three tokens, ends of lines among them, still add up to one."""
    model = tiny_model("ab", cell=cell)
    for steps in (1, 2):
        monkeypatch.setattr(scoring, "_ADAPTING_STEPS", steps)
        total = 0.0
        for ids in itertools.product(range(model.tokenizer.size), repeat=3):
            loss = evaluate(model.dynamic(RATE), Part.from_ids(ids), model.language.start, False)
            assert loss.count == 3
            total += math.exp(-loss.nats)
        assert total == pytest.approx(1, rel=1e-5)


def test_a_step_is_that_of_rmsprop_drawn_back(monkeypatch):
    """From no history, rms is sqrt(0.05) |g|: each weight with a gradient moves by lr / sqrt(0.05), less the decay."""
    model = tiny_model("abc", sequences="document")
    before, engine = model.engine.tensors(), model.dynamic(RATE)
    evaluate(engine, Part.from_ids([2, 3, 4, 2, EOS]), model.language.start, True)
    moves = np.concatenate([np.abs(w - before[name]).ravel() for name, w in engine._engine.tensors().items()])
    expected = RATE / math.sqrt(0.05) * (1 - 0.002)
    moved = moves[moves > 0]
    assert len(moved) > 0.9 * len(moves) - before["embed.weight"].size
    np.testing.assert_allclose(np.median(moved), expected, rtol=1e-4)
    assert moved.max() <= expected * 1.001


def test_the_model_itself_stays_as_it_is_and_repetition_is_learnt():
    model = tiny_model("abc", sequences="document", threads=2, dropout=0.5)
    before, ids = model.engine.tensors(), [2, 3, 3, 4] * 200
    static = -evaluate(model.engine, Part.from_ids([*ids, EOS]), model.language.start, True).nats
    assert log_p(model, ids) > 0.5 * static  # both are negative: at least half of it is gained
    assert log_p(model, ids) == log_p(model, ids)
    for name, w in model.engine.tensors().items():
        np.testing.assert_array_equal(w, before[name])


def test_a_rate_close_to_nothing_is_the_static_figure():
    model = tiny_model("abc", sequences="document")
    ids = np.random.default_rng(0).integers(2, 5, 3000).tolist()
    static = model.score(model.tokenizer.decode(ids)).logprob
    assert log_p(model, ids, 1e-12) == pytest.approx(static, rel=1e-6)


def test_lines_begin_anew_and_count_their_ends():
    model = tiny_model("abc")
    lines = ["abc", "", "cab", "b" * 70]
    ids = [token for line in lines for token in (*model.tokenizer.encode(line).tolist(), EOS)]
    loss = evaluate(model.dynamic(1e-12), Part.from_ids(ids), model.language.start, False)
    assert loss.count == len(ids)
    assert -loss.nats == pytest.approx(sum(model.score(line).logprob for line in lines), rel=1e-6)


def test_it_is_named_where_it_was_used(tmp_path):
    tiny_model("abc", sequences="document").save(tmp_path / "m.safetensors")
    text = tmp_path / "text.txt"
    text.write_text("abccba" * 500)
    run = charlm("score", "-m", tmp_path / "m.safetensors", "--corpus", text, "--json", "--dynamic", "0.01")
    static = charlm("score", "-m", tmp_path / "m.safetensors", "--corpus", text, "--json")
    found, plain = json.loads(run.stdout), json.loads(static.stdout)
    assert found["text"] == f"{text}, dynamic evaluation at 0.01"
    assert plain["text"] == str(text)
    assert found["tokens"] == plain["tokens"]
    assert found["logprob"] > plain["logprob"]


def test_what_cannot_learn_is_refused(tmp_path):
    model = tiny_model("abc")
    for rate in (0, -1, 2, math.nan, math.inf):
        with pytest.raises(UsageError, match="rate of dynamic evaluation"):
            model.dynamic(rate)
    with pytest.raises(UsageError, match="a mixture does not adapt"):
        mix([model, model], [0.5, 0.5]).dynamic(0.1)
    model.save(tmp_path / "m.safetensors")
    run = charlm("score", "-m", tmp_path / "m.safetensors", "abc", "--dynamic", "0.1")
    assert run.exit_code == 2
    assert "--corpus" in run.stderr
