"""Tiny models with random weights, far from uniform, for tests of what a model means."""

import numpy as np

from charlm import cells
from charlm.classifier import Classes, Classifier
from charlm.config import ModelConfig
from charlm.conversion import Conversion
from charlm.converter import Converter
from charlm.engines.classifier import ClassifierEngine
from charlm.engines.converter import ConverterEngine
from charlm.engines.numpy import NumpyEngine
from charlm.engines.tagger import TaggerEngine
from charlm.labelled import LabelledModel
from charlm.language import Language
from charlm.model import Model
from charlm.nn import kernel
from charlm.tagger import Tagger
from charlm.tags import Tags
from charlm.text.columns import Layout
from charlm.text.label_names import Labels
from charlm.text.spelling import JoinedWords
from charlm.text.tag_forms import CHARACTERS, WORDS, Form
from charlm.text.tagged_encoder import Encoder
from charlm.text.tokenizers import CharTokenizer, WordTokenizer

# How far, relatively, what is said of a text may lie from what is said of it in other company: the compiled loops sum
# in one order whatever stands beside it, BLAS in one that depends on the shape, in float32.
COMPANY = 1e-6 if kernel.missing else 1e-12

# Of a network with hidden size 7, for tests of every kind there is.
CELLS = {name: {"cell": name} for name in cells.CELLS} | {"relu": {"cell": "rnn", "nonlinearity": "relu"}}
IN_TORCH = [name for name, shape in CELLS.items() if cells.CELLS[shape["cell"]].torch]
SHAPES = {
    "embedding": {"embedding": 4},
    "one-hot": {"embedding": 0},
    "tied": {"embedding": 7, "tie": True},
    "normed": {"embedding": 4, "layer_norm": True, "residual": True},
    "dense": {"embedding": 4, "head_layers": 2, "head_hidden": 5},
}


def tiny_model(
    tokens="ab", sequences="line", context="sequence", cell="gru", layers=1, threads=1, spread=3.0, seed=0, words=False,
    **shape,
):  # fmt: skip
    """Return a model over `tokens` with hidden size 6, whose `<unk>` is as probable as any other token."""
    tokenizer = (WordTokenizer if words else CharTokenizer)(list(tokens))
    sizes = {"cell": cell, "layers": layers, "hidden": 6, "embedding": 4} | shape
    config = ModelConfig(tokenizer.size, **sizes)
    engine = NumpyEngine(config, threads)
    rng = np.random.default_rng(seed)
    weights = {name: rng.standard_normal(value.shape) for name, value in engine.tensors().items()}
    engine.load({name: (value * spread / 2).astype(np.float32) for name, value in weights.items()})
    return Model(engine, config, Language(tokenizer, sequences, context), {"run": "test"})


def tiny_labelled(
    tokens="ab", names=("no", "yes", "so"), sequences="line", spread=3.0, seed=0, counts=(3, 2, 1), **shape
):  # fmt: skip
    """Return a language model of labelled texts over `tokens`, with hidden size 6."""
    tokenizer = CharTokenizer(list(tokens))
    sizes = {"cell": "gru", "hidden": 6, "embedding": 4, "beginnings": len(names)} | shape
    config = ModelConfig(tokenizer.size, **sizes)
    engine = NumpyEngine(config, 1)
    rng = np.random.default_rng(seed)
    weights = {name: rng.standard_normal(value.shape) for name, value in engine.tensors().items()}
    engine.load({name: (value * spread / 2).astype(np.float32) for name, value in weights.items()})
    labels = Labels(tuple(names), tuple(counts), "tab")
    return LabelledModel(
        engine, config, Language(tokenizer, sequences, "sequence", labels), {"run": "test"}
    )


def tiny_classifier(
    tokens="abc", names=("no", "yes", "maybe"), pool="last", form="tab", longest=1000, threads=1, spread=3.0, seed=0,
    tokenizer=None, counts=None, **shape,
):  # fmt: skip
    """Return a classifier over `tokens`, or of a tokenizer, with hidden size 6."""
    tokenizer = tokenizer or CharTokenizer(list(tokens))
    config = ModelConfig(tokenizer.size, **({"cell": "gru", "hidden": 6, "embedding": 4} | shape))
    engine = ClassifierEngine(config, len(names), pool, threads)
    rng = np.random.default_rng(seed)
    weights = {name: rng.standard_normal(value.shape) for name, value in engine.tensors().items()}
    engine.load({name: (value * spread / 2).astype(np.float32) for name, value in weights.items()})
    counts = counts or tuple(range(len(names), 0, -1))
    classes = Classes(tokenizer, tuple(names), counts, form, pool, longest)
    return Classifier(engine, config, classes, {"run": "test"})


def tiny_tagger(
    tokens="abc", names=("B-x", "B-y", "I-x", "I-y", "O"), scheme="IOB2", words=("ab", "ca", "b", "abba"), read="word",
    unit=WORDS, longest=1000, threads=1, spread=2.0, seed=0, crf=False, char_hidden=3, ngrams=0, layout=None, **shape,
):  # fmt: skip
    """Return a tagger over words or characters, with hidden size 6."""
    characters = CharTokenizer([*tokens, " "])
    known = WordTokenizer(list(words)) if unit == WORDS else None
    encoder = Encoder(known if known and read == "word" else characters, characters, known, unit)
    form = Form(unit, (layout or Layout(tabs=True)) if unit == WORDS else None)
    beside = (char_hidden, 3, ngrams) if encoder.tokenizer is known else (0, 3, 0)
    counts = tuple(range(1, len(names) + 1)) if unit == WORDS else tuple(range(len(names), 0, -1))
    tags = Tags(encoder, form, tuple(names), counts, scheme, longest, crf, *beside)
    sizes = {"cell": "gru", "hidden": 6, "embedding": 4, "bidirectional": True} | shape
    config = ModelConfig(encoder.tokenizer.size, **sizes)
    engine = TaggerEngine(tags.shape(config), threads)
    rng = np.random.default_rng(seed)
    weights = {name: rng.standard_normal(value.shape) for name, value in engine.tensors().items()}
    engine.load({name: (value * spread / 2).astype(np.float32) for name, value in weights.items()})
    return Tagger(engine, config, tags, {"run": "test"})


def tiny_restorer(**shape):
    """Return a tagger of characters: ? and ! instead of a and b, or the character itself."""
    names = ("", "!", "?")
    return tiny_tagger(**({"names": names, "scheme": None, "unit": CHARACTERS} | shape))


def tiny_converter(
    tokens="abc", targets="xyz", source=None, target=None, attention=True, longest=1000, threads=1,
    spread=2.0, seed=0, **shape,
):  # fmt: skip
    """Return a converter from characters to characters, or of other tokenizers, with hidden size
    6."""
    source = source or CharTokenizer(list(tokens))
    target = target or CharTokenizer(list(targets))
    sizes = {"cell": "gru", "hidden": 6, "embedding": 4, "bidirectional": True} | shape
    config = ModelConfig(target.size, **sizes)
    conversion = Conversion(source, target, attention, max_length=longest)
    engine = ConverterEngine(conversion.shape(config), threads)
    rng = np.random.default_rng(seed)
    weights = {name: rng.standard_normal(value.shape) for name, value in engine.tensors().items()}
    engine.load({name: (value * spread / 2).astype(np.float32) for name, value in weights.items()})
    return Converter(engine, config, conversion, {"run": "test"})


def sounds(*tokens):
    """Return a tokenizer of words which one space parts, as phonemes are written."""
    return JoinedWords(list(tokens), " ", word_pattern=r"\S+")
