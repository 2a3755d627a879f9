"""charlm: character and word language models, classifiers, taggers and converters that train, write
and predict on NumPy alone.

    import charlm
    model = charlm.load("charlm-model")
    print(model.sample(length=200, seed=1))
    print(model.score("a sentence").perplexity)
    print(*charlm.load("classifier").predict(["a sentence"]))
    print(*charlm.load("tagger").predict(["a sentence"]))
    print(*charlm.load("converter").predict(["42"]))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from charlm.classifier import Answer, Classifier
    from charlm.converter import Alignment, Converted, Converter, Target
    from charlm.errors import CharlmError
    from charlm.loading import load
    from charlm.model import Model
    from charlm.sampling import SamplingConfig
    from charlm.scoring import Score, TokenScore
    from charlm.tagger import TaggedSentence, Tagger
    from charlm.writing import Sample

# Public names and where they live: imported when asked for, so that `charlm --help` does not wait for NumPy.
_PUBLIC = {
    "Alignment": "charlm.converter",
    "Answer": "charlm.classifier",
    "CharlmError": "charlm.errors",
    "Classifier": "charlm.classifier",
    "Converted": "charlm.converter",
    "Converter": "charlm.converter",
    "LabelledModel": "charlm.labelled",
    "Model": "charlm.model",
    "Sample": "charlm.writing",
    "SamplingConfig": "charlm.sampling",
    "Score": "charlm.scoring",
    "TaggedSentence": "charlm.tagger",
    "Tagger": "charlm.tagger",
    "Target": "charlm.converter",
    "TokenScore": "charlm.scoring",
    "load": "charlm.loading",
}

__all__ = [
    "Alignment", "Answer", "CharlmError", "Classifier", "Converted", "Converter", "LabelledModel", "Model", "Sample",
    "SamplingConfig", "Score", "TaggedSentence", "Tagger", "Target", "TokenScore", "__version__", "load",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'charlm' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)
