"""The kinds of characters, whose n-grams count beside the characters' own."""

import numpy as np
import pytest

import charlm
from charlm.nn.ngrams import NGrams, ngram_shapes
from charlm.nn.params import Params
from charlm.tags import Tags
from charlm.text.kinds import kinds_of
from charlm.text.tokenizers import EOS
from tests.test_ngrams import chunk_of
from tests.test_tag import TINY, columns, sentences_of
from tests.test_training import train


def test_characters_of_a_kind_have_one_id_and_others_have_others():
    kinds = kinds_of("AÉǅaéß07²中ªא\u0301\u0903-$ ")
    assert kinds[0] == EOS
    groups = [
        [kinds[1]],
        *(kinds[start : start + 3] for start in (2, 5, 8, 11)),
        kinds[14:16],
        kinds[16:],
    ]
    assert [len(set(group)) for group in groups] == [1] * 7
    assert len({group[0] for group in groups}) == 7
    assert kinds[1:].min() > 0x10FFFF  # no character has such an id


def test_n_grams_of_characters_and_of_kinds_have_one_mean():
    """There are as many of the one as of the other, so it is the mean of both means; so is the
    gradient."""
    chunk = chunk_of([[2, 3, 4], [], [5, 2, 2, 3, 6]])
    kinds = kinds_of("aB1c-")
    params, rng = Params(ngram_shapes(3)), np.random.default_rng(0)
    params.flat[:] = rng.standard_normal(params.flat.size)
    dv = rng.standard_normal((3, 32)).astype(np.float32)

    def read(inputs, also=None):
        layer, grads = NGrams(3), params.twin()
        vectors = layer.forward(params, inputs, chunk, also)
        layer.backward(grads, dv)
        return vectors, grads.flat

    both = read(chunk.inputs, kinds[chunk.inputs])
    apart = [read(chunk.inputs), read(kinds[chunk.inputs])]
    assert not np.allclose(apart[0][0], apart[1][0])
    for found, one, other in zip(both, *apart, strict=True):
        assert found == pytest.approx((one + other) / 2, abs=1e-6)


def test_the_kinds_have_a_say_in_training_and_in_what_is_opened_from_the_file(
    tmp_path, monkeypatch
):
    """The file does not hold them: the same weights say the same in the run and when opened, and
    not without kinds."""
    corpus = tmp_path / "corpus.tsv"
    corpus.write_text(columns(sentences_of()))
    run = train(tmp_path / "m", {**TINY, "corpus": (str(corpus),), "ngrams": 2, "epochs": 1})
    words = [["mr", "Ba", "go"], ["in", "Zo"]]

    def said(model):
        return [answer.probabilities for answer in model.predict(words)]

    opened = charlm.load(tmp_path / "m")
    run.model.trained.load(opened.trained.tensors())
    assert said(run.model) == said(opened)
    monkeypatch.setattr(Tags, "kinds", None)
    assert said(charlm.load(tmp_path / "m")) != said(opened)
