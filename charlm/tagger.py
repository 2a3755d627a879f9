"""A trained tagger as a person uses it: the tags of sentences, the spans that they mark, or a
restored text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm import checks
from charlm.bio import Span, from_iob2, spans, to_iob2
from charlm.checkpoint import FORMAT_KEY
from charlm.config import ModelConfig, TrainConfig
from charlm.engines import Tally
from charlm.engines.tagger import TaggerEngine
from charlm.errors import DataError, UsageError
from charlm.facts import check_facts
from charlm.model_files import Tensors, check_size, dump, numpy_settings, parse, save
from charlm.nn.tagger import shapes
from charlm.tag_metrics import tag_tally
from charlm.tags import Tags
from charlm.text.character_tags import applied, character_tags, composed
from charlm.text.tag_packing import sentence_chunks
from charlm.text.tagged_encoder import piece_of
from charlm.text.tagged_part import TaggedList, TaggedPart, TaggedText
from charlm.text.tokenizers import Tokenizer
from charlm.text.windows import Item, always, in_windows

_SENTENCES = 4096  # of a window, which are answered together,
_CHARACTERS = 1 << 18  # or as many as reach this many characters


@dataclass(frozen=True)
class TaggedSentence:
    """What a tagger says of a sentence: a tag for each token, in the scheme of the corpus that it
    learnt from.

    tokens: words, or where characters are tagged the characters of the text in NFC. tags: of
    characters what stands in their place. text: the words with a space between, or the characters
    that the tags make. probabilities: of the tags, one by one. scheme: in which they mark spans,
    None where they mark none. unknown: how many tokens training had not. pieces: how many the
    sentence was read in, 1 unless it is very long.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    text: str
    probabilities: tuple[float, ...]
    scheme: str | None
    unknown: int
    pieces: int

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans that the tags mark, by conlleval's rule: kind, number of the first token and of
        that after the last."""
        return tuple(spans(self.tags)) if self.scheme else ()


@dataclass(frozen=True)
class TagScore:
    """How probable the tags of a sentence are: log p(tags | sentence) in nats, over the `scored`
    ones.

    Tags that the model does not have are left out, `unknown` counts them. per_token: log p of each
    tag given those before it, None for those; empty unless it was asked for.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    logprob: float
    scored: int
    unknown: int
    per_token: tuple[float | None, ...] = ()


class Judged(NamedTuple):
    """What the network says of a sentence of n tokens, its pieces put together: the numbers of the
    best tags [n] and their probabilities [n], and -log p of the right ones, [n], or of a chain's,
    for each piece. Where it was asked for also log p of each right one given those before it, [n],
    0 where there is none."""

    text: TaggedText
    said: NDArray[np.int32]
    p: NDArray[np.float64]
    nats: NDArray[np.float64]
    turns: NDArray[np.float64] = np.zeros(0)
    pieces: int = 1


class Tagger:
    """A tagger with its tags. `facts` tells where it comes from (`charlm.training` in the file)."""

    def __init__(
        self, engine: TaggerEngine, config: ModelConfig, tags: Tags, facts: Mapping[str, Any]
    ) -> None:
        self.trained, self.config, self.tags, self.facts = engine, config, tags, dict(facts)

    def __repr__(self) -> str:
        names = [name or "(keep)" for name in self.tags.names]
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"<Tagger of {self.tags.unit} with {len(names)} tags: {some}>"

    @property
    def tokenizer(self) -> Tokenizer:
        """Whose ids the network reads."""
        return self.tags.tokenizer

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tags in the order of their numbers, spans in IOB2."""
        return self.tags.names

    def predict(
        self, sentences: Iterable[str | Sequence[str]], ready: Callable[[], bool] = always
    ) -> Iterator[TaggedSentence]:
        """Yield the tags of each sentence, in order: a text, which is parted at white space, or a
        list of tokens.

        Where characters are tagged, a sentence is a text, and all its characters are tokens.
        `sentences` may go on without end; where `ready()` is false, which is asked after each,
        those so far are answered before the next is taken. Of spans, tags come as the corpus had
        them, and only such as can follow one another. Raises TypeError for a single text.

        >>> next(charlm.load("dates").predict(["see you on Friday"])).tags
        ('O', 'O', 'O', 'B-DATE')
        """
        if isinstance(sentences, str | bytes | bytearray):
            raise TypeError("sentences must be several, such as a list of str, not one")
        every = checks.several("sentences", sentences, "sentences, such as a list of str")
        tokens = (self._tokens(number, sentence) for number, sentence in enumerate(every))
        return (
            self._answer(of_tokens, found)
            for window in _in_windows(tokens, ready, _characters)
            for of_tokens, found in zip(window, self.judged(window), strict=True)
        )

    def probabilities(self, sentence: str | Sequence[str]) -> list[dict[str, float]]:
        """Return the probability of every tag for each token of a sentence (as `predict` takes it),
        the most probable first: whatever stands beside it, so that the best sequence may have
        others.

        Tags are in IOB2; of characters "" is to keep it.
        """
        encoder, found = self.tags.encoder, list[dict[str, float]]()
        text = encoder(self._tokens(0, sentence))
        pieces = (
            [piece_of(text, cut) for cut in encoder.cuts(text, self.tags.max_length)]
            if len(text)
            else []
        )
        for piece in pieces:
            for _, chunk in sentence_chunks(TaggedList([piece]), self.tags.reading):
                rows = np.exp(self.trained.log_probs(chunk))
                order = np.argsort(-rows, axis=1, kind="stable")
                found += [
                    {self.names[k]: float(row[k]) for k in best}
                    for row, best in zip(rows, order.tolist(), strict=True)
                ]
        return found

    def scores(
        self, sentences: Iterable[tuple[str | Sequence[str], str | Sequence[str]]],
        per_token: bool = False,
        ready: Callable[[], bool] = always,
    ) -> Iterator[TagScore]:  # fmt: skip
        """Yield how probable the tags of each (sentence, tags) are, in order; sentences and `ready`
        as in `predict`.

        Tags are in any scheme; those of characters are the target, as a text, or what stands in the
        place of each character, "" where it stays. Raises UsageError where there are not as many
        tags as tokens.
        """
        numbers = {name: number for number, name in enumerate(self.names)}
        held = (self._pair(number, *pair) for number, pair in enumerate(sentences))
        for window in _in_windows(held, ready, lambda pair: _characters(pair[0])):
            gold = [
                [numbers.get(tag, -1) for tag in to_iob2(tags, self.tags.scheme)]
                for _, tags in window
            ]
            judged = self.judged([tokens for tokens, _ in window], gold, per_token)
            for (tokens, tags), of, found in zip(window, gold, judged, strict=True):
                yield self._score(tokens, tags, of, found)

    def tally(self, texts: TaggedPart, stop: Callable[[], bool] = lambda: False) -> Tally | None:
        """Return the sums over tagged sentences (`charlm.tag_metrics`); None if `stop` interrupted
        it."""
        return evaluate(self.trained, texts, self.tags, stop)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the one file that tagging needs, atomically (errors as
        `charlm.model_files.save`)."""
        save(path, self.trained.tensors(), self.metadata())

    def metadata(self) -> dict[str, str]:
        """Return what the file says beside the tensors: configuration, tags, vocabularies,
        origin."""
        return {
            FORMAT_KEY: "2", "charlm.task": "tag", "charlm.model": dump(self.config.to_dict()),
            "charlm.training": dump(self.facts), **self.tags.metadata(),
        }  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as what a file holds; the copy computes on one thread."""
        return rebuilt, (self.trained.tensors(), self.metadata())

    def tokens_of(self, text: str) -> tuple[str, ...]:
        """Return the tokens of a text: what white space parts, or where characters are tagged all
        of them, in NFC."""
        return tuple(composed(text)) if self.tags.of_characters else tuple(text.split())

    def _tokens(self, number: int, sentence: str | Sequence[str]) -> tuple[str, ...]:
        if isinstance(sentence, str):
            return self.tokens_of(sentence)
        name = f"sentences[{number}]"
        if self.tags.of_characters:
            return self.tokens_of(checks.text(name, sentence))
        if not isinstance(sentence, tuple) or not all(type(token) is str for token in sentence):
            sentence = tuple(checks.texts(name, sentence))
        if not all(sentence):
            raise UsageError(f"{name} has an empty token")
        return sentence

    def _pair(
        self, number: int, sentence: str | Sequence[str], tags: str | Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the tokens and the tags of a sentence, one for each (UsageError)."""
        if self.tags.of_characters and not isinstance(sentence, str):
            sentence = "".join(sentence)
        tokens = self._tokens(number, sentence)
        target = composed(tags) if self.tags.of_characters and isinstance(tags, str) else None
        given = (
            tuple(checks.texts(f"tags of sentences[{number}]", tags))
            if target is None
            else tuple(target)
        )
        if len(given) != len(tokens):
            found = f"{len(tokens):,} tokens and {len(given):,} tags"
            raise UsageError(f"sentences[{number}] has {found}: give one for each")
        return tokens, given if target is None else tuple(character_tags("".join(tokens), target))

    def _answer(self, tokens: tuple[str, ...], found: Judged) -> TaggedSentence:
        tags = self.tags
        names = [tags.names[number] for number in found.said.tolist()]
        text = applied(tokens, names) if tags.of_characters else " ".join(tokens)
        said = tuple(text if tags.of_characters else from_iob2(names, tags.scheme))
        unknown = int(np.count_nonzero(tags.encoder.unknown(found.text.words)))
        p = tuple(found.p.tolist())
        return TaggedSentence(tokens, said, text, p, tags.scheme, unknown, found.pieces)

    def _score(
        self, tokens: tuple[str, ...], tags: tuple[str, ...], gold: Sequence[int], found: Judged
    ) -> TagScore:
        known = sum(number >= 0 for number in gold)
        each = zip(found.turns.tolist(), gold, strict=False)  # none where it was not asked for
        alone = tuple(logp if number >= 0 else None for logp, number in each)
        return TagScore(
            tokens, tags, 0.0 - float(found.nats.sum()), known, len(gold) - known, alone
        )

    def judged(
        self,
        sentences: Sequence[Sequence[str]],
        gold: Sequence[Sequence[int]] | None = None,
        turns: bool = False,
    ) -> list[Judged]:
        """Return what the network says of sentences of tokens, whose tags have the numbers `gold`,
        -1 for none."""
        encoder, longest = self.tags.encoder, self.tags.max_length
        texts = [encoder(tokens) for tokens in sentences]
        for text, of in zip(texts, gold or (), strict=gold is not None):
            text.tags[:] = of
        cuts = [encoder.cuts(text, longest) if len(text) else [] for text in texts]
        pieces = [
            text if len(some) == 1 else piece_of(text, cut)
            for text, some in zip(texts, cuts, strict=True) for cut in some
        ]  # fmt: skip
        found = iter(self._judged_pieces(pieces, turns))
        return [
            self._joined(text, list(islice(found, len(some))))
            for text, some in zip(texts, cuts, strict=True)
        ]

    def _judged_pieces(self, pieces: Sequence[TaggedText], turns: bool) -> list[Judged]:
        found: list[Any] = [None] * len(pieces)
        for numbers, chunk in sentence_chunks(TaggedList(pieces), self.tags.reading):
            judged = self.trained.judge(chunk, self.tags.allowed)
            p = np.exp(judged.logp[np.arange(len(judged.tags)), judged.tags])
            in_turn = self.trained.in_turn(chunk) if turns else np.zeros(0)
            bounds = chunk.starts.tolist()
            ends = range(len(bounds)) if self.tags.crf else bounds  # of nats
            for place, number in enumerate(numbers.tolist()):
                some, own = slice(*bounds[place : place + 2]), slice(*ends[place : place + 2])
                found[number] = Judged(
                    pieces[number], judged.tags[some], p[some], judged.nats[own], in_turn[some]
                )
        return found

    def _joined(self, text: TaggedText, pieces: Sequence[Judged]) -> Judged:
        if len(pieces) == 1:
            return pieces[0]
        none = Judged(text, np.zeros(0, np.int32), np.zeros(0), np.zeros(0))
        fields = ("said", "p", "nats", "turns")
        said, p, nats, turns = (
            np.concatenate([getattr(piece, name) for piece in (none, *pieces)]) for name in fields
        )
        return Judged(text, said, p, nats, turns, max(1, len(pieces)))


def evaluate(
    engine: TaggerEngine, texts: TaggedPart, tags: Tags, stop: Callable[[], bool] = lambda: False
) -> Tally | None:
    """Return the sums over tagged sentences (`charlm.tag_metrics`); None if `stop` interrupted
    it."""
    total, unseen = Tally(), tuple(texts.unseen_names)
    for numbers, chunk in sentence_chunks(texts, tags.reading):
        if stop():
            return None
        judged = engine.judge(chunk, tags.allowed)
        spaces = tags.spaces[chunk.tokens] if tags.of_characters else None
        total += tag_tally(
            judged.tags, texts.gold(numbers), judged.nats, chunk.starts, tags.names,
            tags.encoder.unknown(chunk.tokens), unseen, spaces, chunk.read,
        )  # fmt: skip
    return total


def rebuilt(
    tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig | None = None
) -> Tagger:
    """Return the tagger that a file's tensors and metadata describe; raises DataError where they do
    not fit."""
    try:
        facts, tags = parse(metadata, "charlm.training"), Tags.of_file(metadata)
        config = ModelConfig.from_dict(parse(metadata, "charlm.model"))
        shape = tags.shape(config)
    except UsageError as error:  # in a file it is no setting of the user's
        raise DataError(str(error)) from None
    check_facts(facts)
    if not config.layers:
        raise DataError("a tagger needs layers")
    if tags.tokenizer.size != config.vocab_size:
        raise DataError(
            f"the vocabulary has {tags.tokenizer.size} tokens, the model {config.vocab_size}"
        )
    check_size(tensors, shapes(shape))
    train = numpy_settings(train, "taggers")
    engine = TaggerEngine(shape, train.threads or 1, train, kinds=tags.kinds)
    engine.load(tensors)
    return Tagger(engine, config, tags, facts)


def _in_windows(
    items: Iterable[Item], ready: Callable[[], bool], size_of: Callable[[Item], int]
) -> Iterator[list[Item]]:
    return in_windows(items, ready, size_of, most=_SENTENCES, total=_CHARACTERS)


def _characters(tokens: Sequence[str]) -> int:
    return sum(map(len, tokens))
