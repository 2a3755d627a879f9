"""Taggers on gold sentences: what their tags add up to, and how two of them differ, sentence by
sentence."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.bio import spans, to_iob2
from charlm.engines import Tally
from charlm.errors import UsageError
from charlm.tag_metrics import TagFigures, tag_tally
from charlm.tagger import Judged, Tagger
from charlm.text.columns import Sentence
from charlm.text.reading import TextFile
from charlm.text.tag_forms import Form, find_form
from charlm.text.windows import in_windows

_SENTENCES, _TOKENS = 4096, 1 << 16  # read before any model tags them
_MOST_UNSEEN = 1000  # different tags that are counted by name

Pair = tuple[str, str]  # a gold tag and what was said


class TagAnswers:
    """One tagger's answers to gold sentences: sums, confusions, and what it did not know.

    kept: the sums where every tagged character were kept as it is. confusions: how often a gold tag
    was taken for another, (gold, said), spans in IOB2. unseen: gold tags that the tagger does not
    have, and their tokens (of the first thousand). sentences, pieces: how many there are, and how
    many of them were read in pieces.
    """

    def __init__(self, model: Tagger, by_sentence: bool = False) -> None:
        """Prepare; `by_sentence` keeps what `ratios` returns."""
        self.model, self.tally, self.kept = model, Tally(), Tally()
        self.confusions, self.unseen = Counter[Pair](), Counter[str]()
        self.sentences = self.pieces = 0
        self._numbers = {name: number for number, name in enumerate(model.names)}
        self._unseen_numbers: dict[str, int] = {}
        self._ratios: array[int] | None = array("q") if by_sentence else None

    def add(self, sentences: Sequence[Sentence]) -> None:
        """Tag sentences, each of which has tokens."""
        tags = self.model.tags
        named = [to_iob2(sentence.tags, tags.scheme) for sentence in sentences]
        gold = [[self._number(tag) for tag in of] for of in named]
        known = [[number if number < len(tags.names) else -1 for number in of] for of in gold]
        judged = self.model.judged([sentence.tokens for sentence in sentences], known)
        numbers = np.concatenate([np.array(of, np.int32) for of in gold])
        said = np.concatenate([found.said for found in judged])
        self._add_up(sentences, judged, said, numbers)
        self._note(numbers, said)
        self.sentences += len(sentences)
        self.pieces += sum(found.pieces > 1 for found in judged)
        if self._ratios is not None:
            for of, found in zip(named, judged, strict=True):
                self._ratios.extend(
                    self._ratio(of, [tags.names[number] for number in found.said.tolist()])
                )

    @property
    def figures(self) -> TagFigures:
        """The figures of all sentences so far."""
        return self._figures(self.tally)

    @property
    def kept_figures(self) -> TagFigures:
        """Those if every tagged character were kept as it is."""
        return self._figures(self.kept)

    @property
    def ratios(self) -> NDArray[np.int64]:
        """What the merit of each sentence is a ratio of, [n, 2]: of spans 2 right and gold + said,
        of tags right and all."""
        return np.array(self._ratios or (), np.int64).reshape(-1, 2)

    def _figures(self, tally: Tally) -> TagFigures:
        return TagFigures(tally, self.model.names, self.model.tags.common, len(self.unseen))

    def _number(self, tag: str) -> int:
        """Return the number of a gold tag, L + m of the mth that the tagger does not have."""
        number = self._numbers.get(tag)
        if number is not None:
            return number
        if tag not in self._unseen_numbers:
            if len(self._unseen_numbers) == _MOST_UNSEEN:
                return len(self._numbers) + _MOST_UNSEEN
            self._unseen_numbers[tag] = len(self._numbers) + len(self._unseen_numbers)
        self.unseen[tag] += 1
        return self._unseen_numbers[tag]

    def _add_up(
        self, sentences: Sequence[Sentence], judged: Sequence[Judged], said: NDArray[np.int32],
        gold: NDArray[np.int32],
    ) -> None:  # fmt: skip
        tags = self.model.tags
        starts = np.cumsum([0, *(len(found.said) for found in judged)])
        nats = np.concatenate([found.nats for found in judged])
        unknown = tags.encoder.unknown(np.concatenate([found.text.words for found in judged]))
        gold = np.where(gold < len(tags.names) + len(self._unseen_numbers), gold, -1).astype(
            np.int32
        )
        spaces = None
        if tags.of_characters:
            spaces = np.array(
                [token.isspace() for sentence in sentences for token in sentence.tokens], np.bool_
            )
            keep = np.zeros_like(said)
            self.kept += tag_tally(keep, gold, np.zeros(0), starts, tags.names, spaces=spaces)
        unseen = tuple(self._unseen_numbers)
        self.tally += tag_tally(
            said, gold, nats, starts, tags.names, unknown, unseen, spaces, len(said)
        )

    def _note(self, gold: NDArray[np.int32], said: NDArray[np.int32]) -> None:
        wrong = gold != said
        pairs, counts = np.unique(np.stack([gold[wrong], said[wrong]]), axis=1, return_counts=True)
        names = [*self.model.names, *self._unseen_numbers, "..."]
        for (ours, theirs), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            self.confusions[names[ours], names[theirs]] += count

    def _ratio(self, gold: Sequence[str], said: Sequence[str]) -> tuple[int, int]:
        if self.model.tags.scheme is None:
            return sum(a == b for a, b in zip(gold, said, strict=True)), len(gold)
        ours, theirs = spans(gold), spans(said)
        return 2 * len(set(ours) & set(theirs)), len(ours) + len(theirs)


def gold_form(models: Sequence[Tagger], files: Sequence[TextFile], encoding: str) -> Form:
    """Return the form of gold files, whose words and tags stand where those of training stood
    (UsageError)."""
    forms = {(model.tags.unit, *_columns(model)): None for model in models}
    if len(forms) > 1:
        raise UsageError(
            "the taggers tag other things, or from other columns: test them one by one"
        )
    ((unit, token, tag),) = forms
    form = find_form(files, encoding, unit, token, tag)[0]
    if form.layout is not None and form.layout.conllu:
        return Form(form.unit, form.layout.of_conllu())
    return form


def _columns(model: Tagger) -> tuple[int | None, int | None]:
    layout = model.tags.form.layout
    return (None, None) if layout is None else (layout.token, layout.tag)


def answer_all(models: Sequence[Tagger], sentences: Iterable[Sentence]) -> list[TagAnswers]:
    """Let taggers tag the same gold sentences."""
    every = [TagAnswers(model, by_sentence=len(models) > 1) for model in models]
    held = in_windows(
        sentences, size_of=lambda sentence: len(sentence.tokens), most=_SENTENCES, total=_TOKENS
    )
    for some in held:
        for answers in every:
            answers.add(some)
    return every
