"""A model in its file: the same after saving and loading, and a DataError for whatever does not fit."""

import json

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm.cells import CELLS
from charlm.errors import DataError, MissingInputError
from tests.tiny import tiny_model


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [{}, {"embedding": 0}, {"embedding": 6, "tie": True}, {"layers": 3}], ids=str)
def test_a_saved_model_comes_back_to_the_bit(tmp_path, cell, shape):
    model = tiny_model("abc", cell=cell, **shape)
    model.save(tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        again = charlm.load(path, threads=1)
        assert again.config == model.config
        assert again.metadata() == model.metadata()
        for name, value in model.engine.tensors().items():
            np.testing.assert_array_equal(again.engine.tensors()[name], value)
        assert again.score("abcba").logprob == model.score("abcba").logprob
        assert again.sample(20, seed=1) == model.sample(20, seed=1)


def test_the_packages_reader_opens_the_file(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="the safetensors package is the oracle here")
    model = tiny_model("abc")
    model.save(tmp_path / "model.safetensors")
    tensors = safetensors.load_file(tmp_path / "model.safetensors")
    assert tensors.keys() == model.engine.tensors().keys()
    np.testing.assert_array_equal(tensors["head.weight"], model.engine.tensors()["head.weight"])


def test_a_missing_model_says_how_to_get_one(tmp_path):
    with pytest.raises(MissingInputError, match="train one with `charlm train CORPUS"):
        charlm.load(tmp_path / "nothing")
    with pytest.raises(MissingInputError, match="no model at"):
        charlm.load(tmp_path)


def paths_in(value, path=()):
    """Yield the path of every value in nested JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from paths_in(part, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def removed(value, path):
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = removed(value[path[0]], path[1:])
    return copy


ODD = [None, True, -1, 0, 10**30, 1.5, float("nan"), "", "x", [], [[]], {}, {"a": 1}, ["a", "a"]]


@pytest.mark.parametrize("key", ["charlm.model", "charlm.vocabulary", "charlm.training"])
@pytest.mark.parametrize("words", [False, True])
def test_metadata_signed_but_wrong_is_data_error_or_harmless(tmp_path, key, words):
    """Every value replaced by odd ones, and left out: the model is refused in one way, or works."""
    model = tiny_model(["a", "b"], words=words)
    tensors, metadata = model.engine.tensors(), model.metadata()
    value, refused, tried = json.loads(metadata[key]), 0, 0
    changes = [replaced(value, path, odd) for path in paths_in(value) for odd in ODD]
    changes += [removed(value, path) for path in paths_in(value) if path]
    for changed in changes:
        checkpoint.save(tmp_path / "m.safetensors", tensors, metadata | {key: json.dumps(changed)})
        tried += 1
        try:
            charlm.load(tmp_path / "m.safetensors", threads=1).score("ab")
        except DataError:
            refused += 1
    assert refused > (0 if key == "charlm.training" else tried / 2)


@pytest.mark.parametrize("key", ["charlm.model", "charlm.vocabulary", "charlm.training"])
@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000])
def test_metadata_that_is_no_json_object_is_refused(tmp_path, key, text):
    model = tiny_model("ab")
    checkpoint.save(tmp_path / "m.safetensors", model.engine.tensors(), model.metadata() | {key: text})
    with pytest.raises(DataError, match=key):
        charlm.load(tmp_path / "m.safetensors")


def test_tensors_that_do_not_fit_are_refused(tmp_path):
    model = tiny_model("ab")
    tensors = model.engine.tensors()
    bias = tensors["head.bias"]
    odd = {
        "wrong shape": tensors | {"head.bias": bias.reshape(1, -1)},
        "wrong type": tensors | {"head.bias": bias.astype(np.float64)},
        "missing": {name: value for name, value in tensors.items() if name != "head.bias"},
        "unknown": tensors | {"more": bias},
        "renamed": {name.replace("head.bias", "head.bia"): value for name, value in tensors.items()},
    }
    for changed in odd.values():
        checkpoint.save(tmp_path / "m.safetensors", changed, model.metadata())
        with pytest.raises(DataError, match="configuration"):
            charlm.load(tmp_path / "m.safetensors")
