"""`charlm info`: what it says of language models, as ever, and of classifiers."""

import dataclasses
import json

import pytest

from charlm.classifier import Classifier
from tests.test_commands import charlm as run
from tests.tiny import tiny_classifier, tiny_model

OF_LANGUAGE = [
    "cell", "layers", "hidden", "embedding", "dropout", "tied", "layer_norm", "residual", "parameters", "tokenizer",
    "vocabulary", "sequences", "context", "corpus", "training_tokens", "step", "epoch", "seconds", "valid_nats",
    "valid_nats_known", "valid_perplexity", "test_nats", "trained_by", "kernel", "kernel_missing",
]  # fmt: skip
SHOWN = """cell              lstm
layers            2
hidden            6
embedding         4
dropout           0
tied              False
layer norm        False
residual          False
parameters        668
tokenizer         char
vocabulary        4
sequences         line
context           sequence
corpus            a.txt, b.txt
training tokens   12,345
step              1,000
epoch             2.5
seconds           61
valid nats        1.25
valid nats known  1.2
valid perplexity  3.4903
trained by        charlm 0.0.9
"""
FACTS = {
    "run": "x", "charlm": "0.0.9", "corpus": ["a.txt", "b.txt"], "train_tokens": 12345, "step": 1000, "epoch": 2.5,
    "seconds": 61.0, "valid_nats": 1.25, "valid_nats_known": 1.2,
}  # fmt: skip


def facts(path):
    return json.loads(run("info", "-m", path, "--json").stdout)


def test_of_a_language_model_it_says_what_it_always_said(tmp_path):
    model = tiny_model("ab", cell="lstm", layers=2)
    model.facts = dict(FACTS)
    model.save(tmp_path / "m")
    told = run("info", "-m", tmp_path / "m").stdout
    shown = "\n".join(line for line in told.splitlines() if not line.startswith("kernel")) + "\n"
    assert shown == SHOWN
    assert list(facts(tmp_path / "m")) == OF_LANGUAGE


def test_layers_on_top_are_told_where_there_are_some(tmp_path):
    tiny_model("ab", head_layers=2, head_hidden=5).save(tmp_path / "m")
    assert {"head_layers": 2, "head_hidden": 5}.items() <= facts(tmp_path / "m").items()
    assert "head layers       2\n" in run("info", "-m", tmp_path / "m").stdout


@pytest.fixture
def classifier(tmp_path):
    names = tuple(f"l{k}" for k in range(12))
    model = tiny_classifier(
        names=names, counts=(*range(11), 2000), pool="mean", bidirectional=True, head_layers=1
    )
    figures = {
        "valid_accuracy": 0.75,
        "valid_macro_f1": 0.5,
        "valid_nats": 0.9,
        "valid_majority": 0.25,
    }
    origin = (
        FACTS
        | figures
        | {"test_accuracy": 0.7, "test_macro_f1": None, "test_nats": 1.0, "test_majority": 0.2}
    )
    balanced = dataclasses.replace(model.classes, balance=True, max_length=77, form="prefix")
    path = tmp_path / "m"
    Classifier(model.trained, model.config, balanced, origin).save(path)
    return path


def test_of_a_classifier(classifier):
    found = facts(classifier)
    expected = {
        "task": "classify", "directions": 2, "cell": "gru", "layers": 1, "head_layers": 1, "head_hidden": 12,
        "pool": "mean", "tokenizer": "char", "vocabulary": 5, "max_length": 77, "balance": True,
        "labels_from": "prefix", "corpus": ["a.txt", "b.txt"], "training_texts": 2055, "valid_accuracy": 0.75,
        "valid_macro_f1": 0.5, "valid_nats": 0.9, "valid_majority": 0.25, "test_accuracy": 0.7, "test_macro_f1": None,
        "test_nats": 1.0, "test_majority": 0.2, "trained_by": "charlm 0.0.9",
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    counts = [*range(11), 2000]
    assert found["labels"] == [{"label": f"l{k}", "texts": count} for k, count in enumerate(counts)]
    assert "kernel" in found
    assert "tied" not in found


def test_for_people_the_commonest_labels_and_balance_in_words(classifier):
    told = run("info", "-m", classifier).stdout
    rows = dict(line.split("  ", 1) for line in told.splitlines())
    assert rows["labels"].strip() == (
        "12: l11 2,000, l10 10, l9 9, l8 8, l7 7, l6 6, l5 5, l4 4, l3 3, l2 2, ..."
    )
    assert (
        rows["balance"].strip() == "labels counted alike in training, however many texts had them"
    )
    assert rows["directions"].strip() == "2"
    assert "test macro f1" not in rows
