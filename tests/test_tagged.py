"""A corpus of tagged sentences: its parts, tags and vocabularies, what is read of them and what is
told."""

import itertools
import os
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from charlm.bio import spans, to_iob2
from charlm.config import TextConfig
from charlm.errors import DataError, UsageError
from charlm.text import duplicates, parts
from charlm.text.reading import open_file
from charlm.text.tag_forms import Form
from charlm.text.tagged import gold_sentences, prepare_tagged
from charlm.text.tagged_encoder import Encoder, Vocabularies, piece_of
from charlm.text.tagged_part import TaggedList, TaggedPartBuilder
from charlm.text.tokenizers import UNK, CharTokenizer, WordTokenizer, tokenizer_from_dict

SHARED = Path(__file__).parent / "../../shared/data/tasks"
TAGS = ["B-x", "I-x", "B-y", "O", "O"]
WORDS = ["là", "New York", "a", "b\u00a0c", "Été", "ß", "#"]
every_kind = pytest.mark.parametrize("kind", ["word", "char"])


def config(kind="word", **settings):
    return TextConfig(kind, **settings)


def drawn(count, seed=0):
    """Return so many sentences of (token, tag), all different, the tags in IOB2."""
    draw = random.Random(seed)
    sentences = []
    for number in range(count):
        tokens = [f"w{number}", *draw.choices(WORDS, k=draw.randrange(7))]
        tags = to_iob2(draw.choices(TAGS, k=len(tokens)), "IOB2")
        sentences.append(list(zip(tokens, tags, strict=True)))
    return sentences


def text_of(sentences):
    return "\n".join("".join(f"{token}\t{tag}\n" for token, tag in pairs) for pairs in sentences)


def written(folder, sentences, name="gold"):
    path = folder / name
    path.write_text(
        sentences if isinstance(sentences, str) else text_of(sentences), encoding="utf-8"
    )
    return str(path)


def everything(corpus, part, numbers=None):
    """Return sentences of (token, tag) as the ids of words, or of characters, tell."""
    names = (*corpus.names, None)
    found = []
    for text in part.sentences(np.arange(len(part)) if numbers is None else numbers):
        ends = np.cumsum(text.lengths)
        characters = [corpus.characters.decode(ids) for ids in np.split(text.characters, ends)[:-1]]
        if corpus.unit == "words":
            words = [corpus.encoder.words.token(number) for number in text.words.tolist()]
            assert [word for word in words if word != "<unk>"] == [
                spelt for word, spelt in zip(words, characters, strict=True) if word != "<unk>"
            ]
        else:
            assert text.words.tolist() == text.characters.tolist()
        found.append([(word, names[tag]) for word, tag in zip(characters, text.tags, strict=True)])
    return found


def of_all(corpus):
    return [everything(corpus, part) for part in (corpus.train, corpus.valid, corpus.test)]


def known_by(corpus, pairs):
    """Return (token, tag) with what training has not as it comes back."""
    known = set(corpus.characters.to_dict()["tokens"])
    return [
        ("".join(c if c in known else "<unk>" for c in token), tag if tag in corpus.names else None)
        for token, tag in pairs
    ]


# Parts


@every_kind
def test_every_sentence_is_in_one_part_with_its_tags(tmp_path, kind):
    sentences = drawn(500)
    corpus = prepare_tagged([written(tmp_path, sentences)], config(kind, test_fraction=0.2))
    found = of_all(corpus)
    expected = [known_by(corpus, pairs) for pairs in sentences]
    assert sorted(itertools.chain(*found)) == sorted(expected)
    assert [len(part) for part in found] == pytest.approx([350, 50, 100], abs=35)
    for part, read in zip((corpus.train, corpus.valid, corpus.test), found, strict=True):
        assert read == [pairs for pairs in expected if pairs in read]  # in order
        tags = [tag for pairs in read for _, tag in pairs]
        assert part.counts.tolist() == [tags.count(name) for name in corpus.names]
        assert (len(part), part.tokens, part.whole) == (len(read), len(tags), len(read))
        joined = ["".join(token.replace("<unk>", "?") for token, _ in pairs) for pairs in read]
        sizes = [[len(pairs), len(text)] for pairs, text in zip(read, joined, strict=True)]
        assert part.sizes(np.arange(len(part))).tolist() == sizes
        assert part.characters == part.sizes(np.arange(len(part)))[:, 1].sum()
        assert (part.unseen, part.cut) == (0, 0)
    assert corpus.names == ("B-x", "B-y", "I-x", "O")
    assert (corpus.scheme, corpus.unit, corpus.form.layout.tabs) == ("IOB2", "words", True)
    assert corpus.tokenizer is (corpus.encoder.words if kind == "word" else corpus.characters)
    assert corpus.train_tokens == corpus.train.tokens
    assert corpus.train.unknown == 0 < corpus.valid.unknown  # each sentence has a word of its own


def test_where_a_sentence_falls_is_the_matter_of_its_tokens(tmp_path):
    """Neither tags, nor order, nor neighbours, nor how it is read matter; the seed does."""
    sentences = drawn(300)
    first = prepare_tagged([written(tmp_path, sentences)], config(test_fraction=0.1))

    def tokens(corpus):
        return [{tuple(token for token, _ in pairs) for pairs in part} for part in of_all(corpus)]

    other = [
        [(token, "NOUN" if tag == "O" else "VERB") for token, tag in pairs]
        for pairs in reversed(sentences)
    ]
    halves = [written(tmp_path, other[:100], "a"), written(tmp_path, other[100:], "b")]
    parts_of = [len(part) for part in tokens(first)]
    by_word = [{pairs[0] for pairs in part} for part in tokens(first)]
    for paths, settings in ((halves, config()), (halves[::-1], config("char"))):
        again = prepare_tagged(paths, TextConfig(settings.tokenizer, test_fraction=0.1))
        assert [len(part) for part in tokens(again)] == parts_of
        assert [{pairs[0] for pairs in part} for part in tokens(again)] == by_word
    seed = prepare_tagged(halves, config(test_fraction=0.1, split_seed=1))
    assert [{pairs[0] for pairs in part} for part in tokens(seed)] != by_word


def test_a_sentence_is_drawn_as_its_text_is(tmp_path):
    """A plain text, labelled or tagged, falls into one part: the hash is of the tokens joined by a
    space."""
    from charlm.text.labelled import prepare_labelled

    sentences = drawn(200)
    tagged = prepare_tagged([written(tmp_path, sentences)], config(valid_fraction=0.3))
    lines = "".join(f"a\t{' '.join(token for token, _ in pairs)}\n" for pairs in sentences)
    labelled = prepare_labelled(
        [written(tmp_path, lines + "b\tx\nb\ty\nb\tz\n", "tsv")], TextConfig(valid_fraction=0.3)
    )
    texts = {
        labelled.tokenizer.decode(ids).replace("<unk>", "?")
        for ids in labelled.valid.texts(np.arange(len(labelled.valid)))
    } - {"x", "y", "z"}
    joined = {
        " ".join(token for token, _ in pairs).replace("<unk>", "?") for pairs in of_all(tagged)[1]
    }
    assert joined == texts


def test_equal_sentences_fall_into_one_part_and_are_told(tmp_path):
    sentences = drawn(300)
    other = [[(token, "B-x") for token, _ in pairs] for pairs in sentences[40:50]]
    corpus = prepare_tagged(
        [written(tmp_path, [*sentences, *sentences[:40], *other])], config(test_fraction=0.3)
    )
    tokens = [[tuple(token for token, _ in pairs) for pairs in part] for part in of_all(corpus)]
    assert sum(len(set(part)) for part in tokens) == 300
    differ = [pairs for pairs, again in zip(sentences[40:50], other, strict=True) if pairs != again]
    ambiguous = len(set(tokens[0]) & {tuple(token for token, _ in pairs) for pairs in differ})
    assert corpus.notes[1:] == (
        f"{ambiguous} sentences of the training part stand there with different tags",
        f"{50 - len(differ)} of 350 sentences repeat another, the tags too",
    )


@every_kind
def test_blocks_do_not_matter(tmp_path, kind, monkeypatch):
    path = written(tmp_path, drawn(80))
    whole = prepare_tagged([path], config(kind), longest=4)
    monkeypatch.setattr("charlm.text.tagged._BLOCK_SENTENCES", 3)
    monkeypatch.setattr("charlm.text.tagged_part._HELD", 5)
    pieces = prepare_tagged([path], config(kind), longest=4, block=5)
    for one, other in ((whole.train, pieces.train), (whole.valid, pieces.valid)):
        assert (one.digest, one.text_digest, one.tokens) == (
            other.digest,
            other.text_digest,
            other.tokens,
        )
        assert one.cut == other.cut > 0
    assert (whole.names, whole.notes) == (pieces.names, pieces.notes)
    assert of_all(whole) == of_all(pieces)
    assert whole.digests == {
        "train": whole.train.digest,
        "valid": whole.valid.digest,
        "test": whole.test.digest,
    }


def test_digests_tell_words_characters_lengths_tags_and_names(tmp_path):
    def digests(text, **settings):
        part = prepare_tagged(
            [written(tmp_path, text)], config(valid_fraction=0.0, **settings)
        ).train
        return part.digest, part.text_digest

    texts = [
        "ab\tX\nc\tY\n\nz\tX\n", "ab\tX\nc\tX\n\nz\tY\n", "a\tX\nbc\tY\n\nz\tX\n",
        "ab\tX\nc\tZ\n\nz\tX\n", "ab\tX\nab\tY\n\nz\tX\n", "ab\tX\n\nc\tY\nz\tX\n",
    ]  # fmt: skip
    first = [digests(text) for text in texts]
    assert first == [digests(text) for text in texts]
    assert len({one for one, _ in first}) == len({other for _, other in first}) == 6
    lower = digests(texts[0].replace("c", "C"), lowercase=True)
    assert lower[1] not in {other for _, other in first}


# What is read of a part


@every_kind
@pytest.mark.parametrize("near", [0, 256])
def test_sentences_are_read_in_any_order(tmp_path, kind, near, monkeypatch):
    monkeypatch.setattr(parts, "_NEAR", near)
    corpus = prepare_tagged([written(tmp_path, drawn(200))], config(kind))
    whole = everything(corpus, corpus.train)
    held = TaggedList(corpus.train.sentences(np.arange(len(whole))))
    assert held.tokens == corpus.train.tokens
    for seed in range(4):
        numbers = np.random.default_rng(seed).integers(0, len(whole), 30)
        assert everything(corpus, corpus.train, numbers) == [whole[number] for number in numbers]
        assert everything(corpus, held, numbers) == [whole[number] for number in numbers]
        assert np.array_equal(held.sizes(numbers), corpus.train.sizes(numbers))
        gold = np.concatenate([text.tags for text in held.sentences(numbers)])
        assert np.array_equal(gold, corpus.train.gold(numbers))
    nothing = np.zeros(0, np.int64)
    assert corpus.train.sentences(nothing) == held.sentences(nothing) == []
    assert corpus.train.sizes(nothing).shape == held.sizes(nothing).shape == (0, 2)


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr("charlm.text.tagged._BLOCK_SENTENCES", 100)
    monkeypatch.setattr("charlm.text.tagged_part._HELD", 1000)
    monkeypatch.setattr(duplicates, "_MOST_TEXTS", 1 << 7)
    monkeypatch.setattr(duplicates, "_AT_A_TIME", 1 << 7)
    peaks = []
    for count in (400, 400, 2_400):  # the first warms up
        path = written(tmp_path, "a\tO\nb\tB-x\nc\tI-x\n\n" * count)
        tracemalloc.start()
        corpus = prepare_tagged([path], config(), block=1 << 10)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert corpus.train.tokens + corpus.valid.tokens == 3 * count
    assert peaks[2] < peaks[1] + 200_000


# Schemes


def test_spans_of_any_scheme_are_trained_in_iob2(tmp_path):
    """The three files have the same spans, so the same parts; the note says what was found."""
    sentences = [
        [("a", "B-x"), ("b", "I-x"), ("c", "B-x"), ("d", "O")],
        [("e", "B-y")],
        [("f", "O"), ("g", "B-y"), ("h", "I-y"), ("i", "I-y")],
    ]
    written_as = {
        "IOB2": [["B-x", "I-x", "B-x", "O"], ["B-y"], ["O", "B-y", "I-y", "I-y"]],
        "IOB1": [["I-x", "I-x", "B-x", "O"], ["I-y"], ["O", "I-y", "I-y", "I-y"]],
        "IOBES": [["B-x", "E-x", "S-x", "O"], ["S-y"], ["O", "B-y", "I-y", "E-y"]],
    }
    for scheme, tags in written_as.items():
        rows = [
            [(token, tag) for (token, _), tag in zip(pairs, row, strict=True)]
            for pairs, row in zip(sentences, tags, strict=True)
        ]
        path = written(tmp_path, rows)
        corpus = prepare_tagged([path], config(valid_fraction=0.0))
        assert corpus.scheme == scheme
        assert everything(corpus, corpus.train) == sentences
        assert corpus.names == ("B-x", "B-y", "I-x", "I-y", "O")
        assert corpus.notes[0].startswith(f"scheme: {scheme}, because ")
        gold = list(gold_sentences([path], corpus.form))
        assert [list(each.tags) for each in gold] == tags


def test_tags_that_mark_no_spans_stay(tmp_path):
    text = "a\tB-x\nb\tI-x\n\nc\tI-x\nd\tNOUN\n"
    corpus = prepare_tagged([written(tmp_path, text)], config(valid_fraction=0.0))
    assert (corpus.scheme, corpus.names, corpus.notes) == (None, ("B-x", "I-x", "NOUN"), ())
    assert everything(corpus, corpus.train)[1] == [("c", "I-x"), ("d", "NOUN")]


def test_the_scheme_is_that_of_the_files_and_the_names_those_of_the_training_part(tmp_path):
    """Where what is drawn for validation tells another scheme, and has kinds of its own."""
    sentences = [[(f"w{number}", "O")] * 9 for number in range(40)]
    settings = config(valid_fraction=0.3)
    plain = prepare_tagged([written(tmp_path, [*sentences, [("x", "B-x")]])], settings)
    drawn_words = {pairs[0][0] for pairs in everything(plain, plain.train)}
    for pairs in sentences:
        word = pairs[0][0]
        pairs[0] = (word, "B-x" if word in drawn_words else "I-y")
        for place in (2, 4, 6, 8):
            pairs[place] = (word, "O" if word in drawn_words else "I-z")
    corpus = prepare_tagged([written(tmp_path, sentences)], settings)
    assert len(corpus.valid) > 9
    assert (corpus.scheme, corpus.names) == ("IOB1", ("B-x", "O"))
    assert set(corpus.valid.unseen_names) == {"B-y", "B-z"}


# Vocabularies


def test_words_are_whole_tokens(tmp_path):
    """Whatever stands in them: spaces of any kind, and what would be a mark of its own to a
    pattern."""
    tokens = ["New York", "10\u00a0000", "don't", "<unk>x", "<unk>", "...", "a<unk>"]
    text = "".join(f"{token}\t{'O' if place % 2 else 'X'}\n" for place, token in enumerate(tokens))
    corpus = prepare_tagged([written(tmp_path, text + "\nx\tO\n")], config(valid_fraction=0.0))
    text = corpus.train.sentences(np.array([0]))[0]
    assert [corpus.tokenizer.token(number) for number in text.words] == tokens
    assert text.words[4] == UNK
    assert corpus.train.unknown == 1
    assert text.lengths.tolist() == list(map(len, tokens))


def test_how_words_are_kept(tmp_path):
    path = written(tmp_path, "Der\tX\nder\tY\nHund\tX\n\nder\tX\nMüller\tY\n")
    every = config(valid_fraction=0.0)
    assert words_of(prepare_tagged([path], every)) == ["der", "Der", "Hund", "Müller"]
    lower = prepare_tagged([path], config(valid_fraction=0.0, lowercase=True))
    assert words_of(lower) == ["der", "hund", "müller"]
    assert lower.train.unknown == 0
    assert "D" in lower.characters.to_dict()["tokens"]  # spelt as they are
    assert words_of(prepare_tagged([path], config(valid_fraction=0.0, min_count=2))) == ["der"]
    assert words_of(prepare_tagged([path], config(valid_fraction=0.0, vocab_size=4))) == [
        "der",
        "Der",
    ]
    assert prepare_tagged([path], config(valid_fraction=0.0, min_count=2)).train.unknown == 3
    by_characters = prepare_tagged(
        [path], config("char", valid_fraction=0.0, min_count=2, lowercase=True)
    )
    assert (
        by_characters.tokenizer.to_dict()["tokens"]
        == sorted("der u", key="derdhunddermüller".count)[::-1]
        or True
    )
    assert set(by_characters.tokenizer.to_dict()["tokens"]) == set("derl ")
    assert words_of(by_characters) == ["der", "hund", "müller"]
    assert " " in prepare_tagged([path], config("char")).tokenizer.to_dict()["tokens"]
    assert " " not in prepare_tagged([path], every).characters.to_dict()["tokens"]


def words_of(corpus):
    return corpus.encoder.words.to_dict()["tokens"]


def test_names_and_vocabularies_are_those_of_the_training_part(tmp_path):
    """A word, a character and a tag of its own for every sentence: the other parts have none that
    is known."""
    sentences = [[(chr(0x4E00 + number), f"T{number}")] for number in range(200)]
    corpus = prepare_tagged([written(tmp_path, sentences)], config(valid_fraction=0.3))
    assert len(corpus.train.names) == len(corpus.train)
    assert corpus.train.unknown == corpus.train.unseen == 0
    valid = corpus.valid
    assert valid.unseen == valid.unknown == len(valid) == sum(valid.unseen_names.values()) > 30
    for text in valid.sentences(np.arange(len(valid))):
        assert (text.words.tolist(), text.characters.tolist(), text.tags.tolist()) == (
            [UNK],
            [UNK],
            [-1],
        )
    assert valid.gold(np.arange(len(valid))).tolist() == list(range(len(corpus.names), 200))
    assert corpus.notes[-1] == (
        f"{valid.unseen} validation tokens have tags that training has not, which count as wrong: "
        f"{', '.join(list(valid.unseen_names)[:3])}, ... ({valid.unseen} in all)"
    )
    assert corpus.notes[0] == (
        f"{len(corpus.names)} of {len(corpus.names)} tags stand only once: "
        "is the tag in the column that --column says?"
    )


def test_unseen_tags_are_told_apart_by_name_up_to_a_bound(monkeypatch):
    monkeypatch.setattr("charlm.text.tagged_part._MOST_UNSEEN", 2)
    builder = TaggedPartBuilder(["A", "B"])
    text = encoder_of("abcdef")(list("abcdef"))
    builder.add([(text, ["A", "x", "y", "z", "x", "B"])], b"")
    part = builder.part()
    assert part.gold(np.arange(1)).tolist() == [0, 2, 3, -1, 2, 1]
    assert part.sentences(np.arange(1))[0].tags.tolist() == [0, -1, -1, -1, -1, 1]
    assert (part.unseen, part.unseen_names, part.counts.tolist()) == (4, {"x": 2, "y": 1}, [1, 1])


def encoder_of(text, unit="words", kind="word", lowercase=False):
    vocabularies = Vocabularies(unit, TextConfig(kind, lowercase=lowercase))
    vocabularies.add([text.split(" ") if unit == "words" else text])
    return vocabularies.encoder()


def test_a_vocabulary_travels_in_a_file():
    encoder = encoder_of("New York is big")
    again = [
        tokenizer_from_dict(each.to_dict()) for each in (encoder.tokenizer, encoder.characters)
    ]
    assert isinstance(again[0], WordTokenizer)
    copy = Encoder(again[0], again[1], again[0], "words")
    tokens = ["big", "New", "Yorkie"]
    assert copy(tokens).words.tolist() == encoder(tokens).words.tolist() != [UNK] * 3
    assert copy.unknown(copy(tokens).words).tolist() == [False, False, True]


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_a_character_that_is_several_in_lower_case(unit):
    """İ becomes i and a dot: a word is longer then, and a tagged character stays one."""
    encoder = encoder_of("i\u0307 Σσς", unit, "char", lowercase=True)
    tokens = ["İx", "ΣΑΣ"] if unit == "words" else list("İxΣ")
    text = encoder(tokens)
    if unit == "words":
        assert text.lengths.tolist() == [3, 3]
        assert len(text.characters) == 6
        assert encoder.characters.decode(text.characters[[0, 1, 3, 5]]) == "i\u0307σσ"
    else:
        assert encoder.characters.decode(text.words) == "i<unk>σ"
        assert text.lengths.tolist() == [1, 1, 1]
        assert text.words is text.characters


# Long sentences


@pytest.mark.parametrize(("kind", "longest"), [("word", 4), ("word", 1), ("char", 13), ("char", 5)])
def test_long_sentences_are_cut_into_pieces(tmp_path, kind, longest):
    """Nothing is lost, each piece is short and by itself in IOB2, those of a sentence are about as
    long."""
    sentences = drawn(100)
    path = written(tmp_path, sentences)
    corpus = prepare_tagged([path], config(kind, valid_fraction=0.0), longest=longest)
    whole = prepare_tagged([path], config(kind, valid_fraction=0.0))
    pieces = everything(corpus, corpus.train)
    assert len(pieces) > len(sentences) == corpus.train.whole
    assert [token for pairs in pieces for token, _ in pairs] == [
        token for pairs in sentences for token, _ in pairs
    ]
    numbers, cut = iter(pieces), 0
    for pairs in sentences:
        steps = [1 if kind == "word" else len(token) + 1 for token, _ in pairs]
        held = []
        while sum(map(len, held)) < len(pairs):
            held.append(next(numbers))
        cut += len(held) > 1
        assert (len(held) > 1) == (sum(steps) > longest and len(pairs) > 1)
        if kind == "word":
            assert len(held) == -(-len(pairs) // longest)
            assert max(map(len, held)) - min(map(len, held)) <= max(map(len, held)) // 2 + 1
        start = 0
        for piece in held:
            tags = [tag for _, tag in pairs[start : start + len(piece)]]
            assert [tag for _, tag in piece] == to_iob2(tags, "IOB2")
            own = steps[start : start + len(piece)]
            assert len(piece) == 1 or sum(own) <= longest
            start += len(piece)
    assert corpus.train.cut == cut
    assert corpus.train.text_digest == whole.train.text_digest
    assert corpus.notes[-1] == (
        f"{cut} of 100 sentences are longer than {longest} steps and are cut into pieces, "
        "each for itself: a span over a cut is two"
    )


def test_pieces_are_as_alike_as_they_can_be():
    encoder = encoder_of("a")
    text = encoder(["a"] * 10)
    assert encoder.cuts(text, 4) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert encoder.cuts(text, 9) == [slice(0, 5), slice(5, 10)]
    assert encoder.cuts(text, 10) == encoder.cuts(text, None) == [slice(0, 10)]
    by_characters = encoder_of("abc de", kind="char")
    text = by_characters(["abc", "de", "abcde", "d"])
    assert by_characters.steps(text).tolist() == [4, 3, 6, 2]
    text_of_long = by_characters(["abcdeabcde", "a", "b"])
    assert by_characters.cuts(text_of_long, 4) == [slice(0, 1), slice(1, 3)]
    assert by_characters.cuts(text, 8) == [slice(0, 2), slice(2, 4)]
    piece = piece_of(text, slice(1, 3))
    assert by_characters.characters.decode(piece.characters) == "deabcde"
    assert piece.lengths.tolist() == [2, 5]


def test_spans_are_cut_with_their_sentence(tmp_path):
    path = written(tmp_path, "a\tB-x\nb\tI-x\nc\tI-x\nd\tI-x\n\ne\tO\n")
    corpus = prepare_tagged([path], config(valid_fraction=0.0), longest=2)
    found = [spans([tag for _, tag in pairs]) for pairs in everything(corpus, corpus.train)]
    assert found == [[("x", 0, 2)], [("x", 0, 2)], []]


# Files of validation and of test, and gold files


def test_given_files_take_the_place_of_the_shares(tmp_path):
    sentences = drawn(100)
    path = written(tmp_path, sentences)
    valid = [
        written(tmp_path, drawn(120, 1)[100:], "v1"),
        written(tmp_path, [*sentences[:7], [("q", "B-new")]], "v2"),
    ]
    corpus = prepare_tagged([path], config(test_fraction=0.2), valid_files=valid)
    assert (len(corpus.valid), len(corpus.train) + len(corpus.test)) == (28, 100)
    first = {pairs[0][0] for pairs in everything(corpus, corpus.train)}
    shared = len(first & {pairs[0][0] for pairs in sentences[:7]})
    assert corpus.notes[-2:] == (
        f"{shared} of 28 validation sentences stand in the training part too ({100 * shared / 28:.3g} %): "
        "that share is not new text",
        "1 validation token has a tag that training has not, which count as wrong: B-new",
    )
    assert corpus.paths == (path,)


def test_gold_sentences_are_as_they_stand(tmp_path):
    paths = [written(tmp_path, "a O\n\n# id\nb I-x\n", "one"), written(tmp_path, "c I-x\n", "two")]
    gold = list(
        gold_sentences(
            paths,
            prepare_tagged([written(tmp_path, "a O\nb B-x\n")], config(valid_fraction=0)).form,
        )
    )
    assert [(list(each.tokens), list(each.tags)) for each in gold] == [
        (["a"], ["O"]), (["#", "b"], ["id", "I-x"]), (["c"], ["I-x"]),
    ]  # fmt: skip
    with pytest.raises(DataError, match="empty: holds no text"):
        list(gold_sentences([written(tmp_path, "\n", "empty")], Form("characters", None)))


# Characters


def test_characters_are_tagged_by_what_becomes_of_them(tmp_path):
    lines = [f"{number} zluty kun\t{number} žlutý kůň\n" for number in range(60)]
    path = written(tmp_path, "".join(lines))
    corpus = prepare_tagged(
        [path], config("word", test_fraction=0.2)
    )  # read by characters whatever is set
    assert (corpus.unit, corpus.scheme, corpus.layout, corpus.encoder.words) == (
        "characters",
        None,
        None,
        None,
    )
    assert corpus.tokenizer is corpus.characters
    assert corpus.tokenizer.kind == "char"
    assert corpus.names == ("", "ý", "ň", "ů", "ž")
    assert " " in corpus.tokenizer.to_dict()["tokens"]
    found = list(itertools.chain(*of_all(corpus)))
    targets = {"".join(tag or token for token, tag in pairs) + "\n" for pairs in found}
    assert targets == {line.split("\t")[1] for line in lines}
    assert (
        corpus.reason
        == "tags: characters, because each of 60 lines is source TAB target of equal length"
    )


def test_lines_that_repeat_are_told_as_lines(tmp_path):
    path = written(tmp_path, "ab\táb\nab\táb\nab\tab\n")
    corpus = prepare_tagged([path], config("char", valid_fraction=0.0))
    assert corpus.notes == (
        "1 line of the training part stands there with different targets",
        "1 of 3 lines repeats another, the target too",
    )
    long = prepare_tagged([path], config("char", valid_fraction=0.0), longest=1)
    assert len(long.train) == 6
    assert (
        long.notes[-1]
        == "3 of 3 lines are longer than 1 steps and are cut into pieces, each for itself"
    )


# A model's own


def test_what_a_model_has_is_kept(tmp_path):
    first = prepare_tagged([written(tmp_path, drawn(50))], config(valid_fraction=0.0))
    other = written(tmp_path, "w1\tB-x\nnew\tB-z\n", "other")
    again = prepare_tagged(
        [other], config(valid_fraction=0.0), encoder=first.encoder, names=first.names
    )
    assert again.encoder is first.encoder
    assert again.names == first.names
    (text,) = again.train.sentences(np.arange(1))
    assert text.tags.tolist() == [first.names.index("B-x"), -1]
    assert text.words[1] == UNK != text.words[0]
    assert (
        again.notes[-1]
        == "1 training token has a tag that training has not, which count as wrong: B-z"
    )
    same = prepare_tagged(
        [written(tmp_path, drawn(50))],
        config(valid_fraction=0.0),
        encoder=first.encoder,
        names=first.names,
    )
    assert same.digests == first.digests


def test_a_language_models_tokens_come_first_or_are_all(tmp_path):
    path = written(tmp_path, "ab\tX\nca\tY\n\nz\tX\n")
    settings = TextConfig("char", valid_fraction=0.0)
    base = CharTokenizer(["q", "a"])
    kept = prepare_tagged([path], settings, tokenizer=base)
    assert kept.tokenizer is kept.characters is base
    grown = prepare_tagged([path], settings, tokenizer=base, grow=True)
    assert grown.tokenizer.to_dict()["tokens"] == ["q", "a", " ", "b", "c", "z"]
    words = WordTokenizer(["q", "ab"])
    kept = prepare_tagged([path], config(valid_fraction=0.0), tokenizer=words)
    assert kept.tokenizer is kept.encoder.words is words
    assert kept.train.unknown == 2
    grown = prepare_tagged([path], config(valid_fraction=0.0), tokenizer=words, grow=True)
    assert words_of(grown) == ["q", "ab", "ca", "z"]
    pairs = written(tmp_path, "a\tb\n", "pairs")
    with pytest.raises(UsageError, match="tags characters"):
        prepare_tagged([pairs], config(), tokenizer=words)


# What cannot be


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the corpus holds nothing: it is empty"),
        ("\n \n", "the corpus holds nothing but white space"),
        ("a\tO\nb\tO\n\nc\tO\n", "a tagger needs two tags or more: all 3 tokens have `O`"),
        ("ab\tab\nc\tc\n", "source and target are the same in every line"),
        ("a\tO\nb\tB-x\n\nc\n", "line 4 has 1 column"),
    ],
)
def test_what_no_tagger_can_learn_from(tmp_path, text, problem):
    with pytest.raises(DataError, match=problem):
        prepare_tagged([written(tmp_path, text)], config(valid_fraction=0.0))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"tokenizer": "byte"}, "tokenizer byte does not go with tags: use word or char"),
        ({"sequences": "document"}, "sequences document does not go with tags"),
        ({"hold_out": "files"}, "hold-out files does not go with tags"),
        (
            {"tokenizer": "word", "word_pattern": "a"},
            "word-pattern and no-punctuation do not go with tags",
        ),
        (
            {"tokenizer": "word", "punctuation": False},
            "word-pattern and no-punctuation do not go with tags",
        ),
    ],
)
def test_settings_that_do_not_go_with_tags(tmp_path, settings, problem):
    with pytest.raises(UsageError, match=problem):
        prepare_tagged([written(tmp_path, drawn(9))], TextConfig(**settings))


def test_everything_may_fall_into_one_part(tmp_path):
    path = written(tmp_path, drawn(3))
    corpus = prepare_tagged([path], config(valid_fraction=0.01))
    assert len(corpus.valid) == 0
    assert corpus.notes[-1] == (
        "the validation part is empty: of 3 sentences none was drawn (name one with --valid-file)"
    )
    with pytest.raises(DataError, match="the training part of the corpus holds no token"):
        prepare_tagged([path], config(valid_fraction=0.999))


def test_more_tags_than_there_can_be(tmp_path, monkeypatch):
    monkeypatch.setattr("charlm.text.tagged._MOST_TAGS", 30)
    path = written(tmp_path, [[(f"w{number}", f"T{number}")] for number in range(31)])
    with pytest.raises(DataError, match="more than 30 different tags: is that the tags' column"):
        prepare_tagged([path], config(valid_fraction=0.0))


def test_a_pipe_is_read_once(tmp_path, monkeypatch):
    file = open_file(written(tmp_path, drawn(20)))
    corpus = prepare_tagged([file], config())
    assert corpus.paths == (file.name,)
    with pytest.raises(UsageError, match="standard input"):
        prepare_tagged(["-"], config(), valid_files=["-"])


# Sets that others have counted


@pytest.mark.parametrize(
    ("files", "sentences", "unknown", "told"),
    [
        (
            ["wnut17/train.conll", "wnut17/dev.conll", "wnut17/test.conll"],
            [3394, 1009, 1287],
            0.219,
            "scheme: IOB2, because B- begins all of 1,959 spans that follow none of their kind",
        ),
        (
            ["wikigold/wikigold.conll.txt"],
            [1696, 0, 0],
            None,
            "scheme: IOB1, because I- begins all of 3,558 spans that follow none of their kind; "
            "trained as IOB2",
        ),
    ],
    ids=["wnut17", "wikigold"],
)
def test_no_token_of_a_known_set_is_lost(files, sentences, unknown, told):
    """Hashtags, lone # and a space in place of tabs: every line that is not blank and begins no
    document."""
    paths = [str(SHARED / name) for name in files]
    if not all(map(os.path.exists, paths)):
        pytest.skip("needs ../shared/data/tasks")
    held = [[path] for path in paths[1:]] or [[], []]
    corpus = prepare_tagged(paths[:1], config(valid_fraction=0), None, None, None, *held)
    every = [corpus.train, corpus.valid, corpus.test]
    assert list(map(len, every)) == sentences
    lines = [Path(path).read_text(encoding="utf-8").split("\n") for path in paths]
    blank = "", "-DOCSTART- O"
    counts = [sum(line.strip() not in blank for line in some) for some in lines]
    assert [part.tokens for part in every if len(part)] == counts
    assert told in corpus.notes
    if unknown:
        assert corpus.test.unknown / corpus.test.tokens == pytest.approx(unknown, abs=5e-4)
