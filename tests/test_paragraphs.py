"""Paragraphs as sequences: what parts them, their ids, the parts of a corpus, and what labels stand
on them."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.config import TextConfig
from charlm.errors import DataError, UsageError
from charlm.text.corpus import prepare
from charlm.text.labelled import gold_lines, labelled_part, prepare_labelled
from charlm.text.sequences import DOCUMENT, KINDS, LINE, PARAGRAPH, paragraphs
from charlm.text.splitting import line_parts
from charlm.text.stream import Lines, Paragraphs
from charlm.text.tokenizers import EOS, ByteTokenizer, CharTokenizer, WordTokenizer
from tests.test_corpus import put, read_sequences

ALL = {"valid_fraction": 0.0}
texts_of_anything = st.lists(
    st.sampled_from([*"ab,'é😀 \t\r", "\n", "\n", "\n\n", " \n", "\r\n", "\x85", "\u2028", "<unk>"])
).map("".join)


def expected(text):
    """Return the paragraphs of a text, by the definition: runs of lines in which something
    stands."""
    groups = itertools.groupby(text.split("\n"), key=lambda line: bool(line.strip()))
    return ["\n".join(lines) for shown, lines in groups if shown]


def cut(text, places):
    """Cut a text at some places, pieces without a character among them."""
    places = sorted(place % (len(text) + 1) for place in places)
    return [text[a:b] for a, b in itertools.pairwise([0, *places, len(text)])]


def config(kind, **more):
    return TextConfig(
        kind, **{"min_count": 1} | more if kind == "word" else more, sequences="paragraph"
    )


# What parts them


@settings(max_examples=300)
@given(texts_of_anything, st.lists(st.integers(0, 10_000), max_size=8))
@example("a\n \n\nb", [1, 2, 3, 4, 5])
@example(" \n  a\n b \n", [1, 2, 3, 5])
def test_paragraphs_are_parted_by_blank_lines_however_the_text_comes(text, places):
    found = list(paragraphs(cut(text, places)))
    assert "".join(found) == "".join(f"{one}\n\n" for one in expected(text))
    whole = [piece for piece in found if piece]
    assert not any(a.endswith("\n") and b.startswith("\n") for a, b in itertools.pairwise(whole))
    assert PARAGRAPH.of(text) == expected(text)


@given(
    texts_of_anything, st.lists(st.integers(0, 10_000), max_size=8), st.integers(1, 3), st.data()
)
def test_paragraphs_of_a_stream_are_those_of_a_corpus_numbered_by_their_first_lines(
    text, places, of, data
):
    shard = (data.draw(st.integers(1, of)), of)
    read = Paragraphs(Lines(iter(cut(text, places)), lambda: True), shard, str.upper)
    lines = text.split("\n")
    shown = [bool(line.strip()) for line in lines]
    first = [
        k
        for k, (before, here) in enumerate(itertools.pairwise([False, *shown]))
        if here and not before
    ]
    numbered = [(k + 1, one.upper()) for k, one in zip(first, expected(text), strict=True)]
    assert list(read.numbered()) == numbered[shard[0] - 1 :: of]


def test_a_paragraph_is_ready_as_soon_as_a_blank_line_has_come_after_it():
    pieces, arrived = (
        iter(["a\nb\n", "\nc", "\n \n", "d"]),
        iter([True, True, False, True, False, True, True]),
    )
    read = Paragraphs(Lines(pieces, lambda: next(arrived)))
    texts = iter(read)
    assert read.ready()  # two pieces were read for it
    assert next(texts) == "a\nb"
    assert not read.ready()
    assert next(texts) == "c"
    assert not read.ready()
    assert next(texts) == "d"
    assert read.ready()
    assert list(texts) == []


# Their ids


every_tokenizer = pytest.mark.parametrize(
    "tokenizer",
    [
        CharTokenizer(list("\nab, 'é")),
        CharTokenizer(list("\nab"), lowercase=True),
        CharTokenizer(list("ab")),
        ByteTokenizer(),
        WordTokenizer(["\n", "a", "ab", ",", "é"]),
        WordTokenizer(["a", "b"], punctuation=False),
        WordTokenizer(["\n", "a", "b"], punctuation=False),
        WordTokenizer(
            ["\n", "a"], word_pattern=r"[^,]+"
        ),  # whose words go on over the ends of lines
    ],
    ids=[
        "char",
        "lowered",
        "without newline",
        "byte",
        "word",
        "no newline",
        "no punctuation",
        "pattern",
    ],
)


@every_tokenizer
@given(text=texts_of_anything)
def test_ids_are_those_of_each_paragraph_and_an_end(tokenizer, text):
    raw = tokenizer.kind == "byte"
    of = expected(text.encode().decode("latin-1") if raw else text)
    parted = "".join(f"{one}\n\n" for one in of)
    found = PARAGRAPH.encode(tokenizer, parted.encode("latin-1") if raw else parted)
    each = [tokenizer.encode(one.encode("latin-1") if raw else one) for one in of]
    wanted = [token for ids in each for token in [*ids.tolist(), EOS]]
    assert found.tolist() == wanted
    assert PARAGRAPH.characters(parted) == sum(map(len, of))


def test_what_a_kind_of_sequence_is():
    assert [kind.name for kind in KINDS.values() if kind.newline] == ["paragraph", "document"]
    assert [kind.name for kind in KINDS.values() if kind.document] == ["document"]
    assert [kind.of("a\n\nb\n") for kind in (LINE, DOCUMENT)] == [["a", "", "b", ""], ["a\n\nb\n"]]


# The parts of a corpus


def facts(corpus):
    """All that must not depend on the size of a block."""
    parts = (corpus.train, corpus.valid, corpus.test)
    counts = [
        (len(p), p.sequences, p.characters, p.unknown, p.digest, p.text_digest) for p in parts
    ]
    return [corpus.tokenizer.to_dict(), corpus.sequences, corpus.reason, corpus.notes, counts]


@pytest.mark.parametrize("kind", ["char", "byte", "word"])
@settings(deadline=None, max_examples=60)
@given(text=texts_of_anything, block=st.integers(1, 7))
def test_the_size_of_a_block_changes_nothing(tmp_path_factory, kind, text, block):
    path = put(tmp_path_factory.getbasetemp(), f"{text}\nthe\nthe\n\nthe the\n\n\r\n the", "blocks")
    settings = config(kind, valid_fraction=0.3, test_fraction=0.3, split_seed=2)
    try:
        whole = facts(prepare([path, path], settings))
    except DataError:  # nothing was drawn for training
        return
    assert facts(prepare([path, path], settings, block=block)) == whole


def written(folder, count, seed=0, lines=4, name="corpus.txt"):
    """Write that many paragraphs, parted in many ways, and return the path and the paragraphs."""
    draw = random.Random(seed)

    def line():
        return " ".join(draw.choices(["ab", "cd", "ef", "gh"], k=draw.randint(1, 5)))

    of = ["\n".join(line() for _ in range(draw.randint(1, lines))) for _ in range(count)]
    ends = ["\n\n", "\n \t\n", "\n\n\n", "\n\r\n"]
    return put(folder, "\n" + "".join(one + draw.choice(ends) for one in of), name), of


@pytest.mark.parametrize("kind", ["char", "byte", "word"])
def test_parts_are_drawn_among_paragraphs_by_their_numbers_over_all_files(tmp_path, kind):
    first, of_first = written(tmp_path, 60, 1, name="one")
    second, of_second = written(tmp_path, 40, 2, name="two")
    corpus = prepare(
        [first, second], config(kind, valid_fraction=0.2, test_fraction=0.1, split_seed=5)
    )
    numbers = line_parts(np.arange(100, dtype=np.uint64), (0.2, 0.1), 5)
    every = zip((corpus.train, corpus.valid, corpus.test), range(3), strict=True)
    for part, number in every:
        wanted = list(itertools.compress([*of_first, *of_second], (numbers == number).tolist()))
        assert read_sequences(corpus, part) == wanted
        assert (part.sequences, part.characters) == (len(wanted), sum(map(len, wanted)))
    assert (corpus.sequences, corpus.reason) == ("paragraph", "sequences: paragraph, as set")


@pytest.mark.parametrize("kind", ["char", "byte", "word"])
def test_splitting_loses_nothing(tmp_path, kind):
    """All parts together are all paragraphs; and given as lines, paragraphs of one line are the
    same corpus."""
    path, of = written(tmp_path, 80, lines=1)
    settings = {"valid_fraction": 0.25, "test_fraction": 0.25}
    corpus = prepare([path], config(kind, **settings))
    parts = [read_sequences(corpus, part) for part in (corpus.train, corpus.valid, corpus.test)]
    assert sorted(itertools.chain(*parts)) == sorted(of)
    more = {"min_count": 1} if kind == "word" else {}
    lines = prepare([path], TextConfig(kind, sequences="line", **settings, **more))
    assert lines.tokenizer.to_dict() == corpus.tokenizer.to_dict()
    assert lines.digests == corpus.digests


def test_newlines_between_paragraphs_are_not_counted_for_the_vocabulary(tmp_path):
    path = put(tmp_path, "a\nb\n\n" + "a\n\n" * 9 + "bb\n")
    for kind, tokens in (("char", ["a", "b", "\n"]), ("word", ["a", "\n", "b", "bb"])):
        assert prepare([path], config(kind, **ALL)).tokenizer.to_dict()["tokens"] == tokens
    alone = put(tmp_path, "a\n\na\n\nb\n")
    assert prepare([alone], config("char", **ALL)).tokenizer.newline is None


def test_whole_files_and_other_files_can_be_held_out(tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    every = [written(folder, 5, seed, name=f"{seed}.txt") for seed in range(12)]
    files = prepare([str(folder)], config("char", hold_out="files"))
    assert files.hold_out == "files"
    held = read_sequences(files, files.valid)
    assert held in [of for _, of in every]
    assert prepare([str(folder)], config("char", hold_out="auto")).hold_out == "parts"
    other, of = written(tmp_path, 7, 99, name="valid")
    corpus = prepare([str(folder)], config("char"), valid_file=other)
    assert read_sequences(corpus, corpus.valid) == of
    assert read_sequences(corpus, corpus.train) == [
        one for name in sorted(every) for one in name[1]
    ]


def test_auto_never_chooses_paragraphs_but_names_them(tmp_path):
    reason = prepare([put(tmp_path, "a\nb\n\nc\n")], TextConfig(**ALL)).reason
    assert reason.startswith("sequences: document, because 1 of 4 lines is blank")
    assert "between blank lines: --sequences paragraph" in reason
    reason = prepare([put(tmp_path, "a\nb\n")], config("char", **ALL)).reason
    assert reason == "sequences: paragraph, as set, but no line is blank: each file is a single one"


@pytest.mark.parametrize("block", [3, 1 << 20])
def test_paragraphs_that_stand_in_two_parts_are_told(tmp_path, block):
    train = put(tmp_path, "a\nb\n\nc\n\n" + "long line\n" * 1000, "train")
    valid = put(tmp_path, "b\n\na\nb\n\n \nc\n\nlong line\n\n" + "long line\n" * 1000, "valid")
    (note,) = prepare([train], config("char"), valid_file=valid, block=block).notes
    assert note.startswith("3 of 5 validation paragraphs stand in the training part too (60 %)")


# Labels on them


def labelled(form, of):
    """Return a text of labelled paragraphs."""
    marks = {"tab": "{}\t", "prefix": "__label__{} ", "first-word": "{} "}[form]
    return "\n".join(f"{marks.format(label)}{text}\n" for label, text in of)


of_two = [
    ("jig", "X:1\nabc\tdef\n  c"),
    ("reel", "one line"),
    ("jig", "__x y\nz"),
    ("reel", "é\nb\nc\nd"),
]


@pytest.mark.parametrize("form", ["tab", "prefix", "first-word"])
@pytest.mark.parametrize("kind", ["char", "byte", "word"])
def test_a_label_stands_on_the_first_line(tmp_path, kind, form):
    path = put(tmp_path, labelled(form, of_two))
    for block in (1, 2, 5, 1 << 16):
        corpus = prepare_labelled([path], config(kind, **ALL), form, block=block)
        assert (corpus.names, corpus.sequences) == (("jig", "reel"), "paragraph")
        part, numbers = corpus.train, np.arange(4)
        assert [corpus.names[k] for k in part.labels(numbers)] == [label for label, _ in of_two]
        raw = [text.encode() if kind == "byte" else text for _, text in of_two]
        assert [ids.tolist() for ids in part.texts(numbers)] == [
            corpus.tokenizer.encode(one).tolist() for one in raw
        ]
        assert part.unknown == 0
    gold, _ = labelled_part([path], corpus.tokenizer, corpus.names, form, kind=PARAGRAPH)
    assert gold.digest == corpus.train.digest
    assert list(gold_lines([path], corpus.tokenizer, corpus.names, form, kind=PARAGRAPH)) == of_two


def test_a_label_may_stand_alone_on_its_line(tmp_path):
    path = put(tmp_path, "__label__a\n  x\ny\n\n__label__b \nz\n")
    corpus = prepare_labelled([path], config("char", **ALL))
    assert corpus.reason == "labels: prefix, because each of 2 paragraphs begins with __label__"
    texts = [corpus.tokenizer.decode(ids.tolist()) for ids in corpus.train.texts(np.arange(2))]
    assert texts == ["  x\ny", "z"]


def test_labels_are_the_names_of_files(tmp_path):
    paths = [
        put(tmp_path, text, name)
        for name, text in (("a.txt", "x\ny\n\nz\n"), ("b.txt", "\n\nx\ty\n"))
    ]
    corpus = prepare_labelled(paths, config("char", **ALL), "file")
    found = [corpus.tokenizer.decode(ids.tolist()) for ids in corpus.train.texts(np.arange(3))]
    assert found == ["x\ny", "z", "x\ty"]
    assert corpus.train.labels(np.arange(3)).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "form", "where"),
    [
        ("a\tx\n\n\nb x\nc\td\n", "tab", "line 4 has no tab"),
        ("a\tx\n\n\nb x\nc\td\n", None, "line 4 has no label before a tab"),
        ("__label__a x\n__label__b y\n", "prefix", "line 1 has several labels"),
        ("a\tx\n\n\ty\nz\tt\n", "tab", "line 3 has an empty label"),
    ],
)
def test_a_paragraph_that_is_not_of_the_form_is_named_by_its_first_line(
    tmp_path, text, form, where
):
    with pytest.raises((DataError, UsageError), match=where):
        prepare_labelled([put(tmp_path, text)], config("char", **ALL), form)


def test_equal_paragraphs_fall_into_one_part(tmp_path):
    draw = random.Random(3)
    of = [(draw.choice("xy"), "\n".join(draw.choices("abc", k=3))) for _ in range(300)]
    corpus = prepare_labelled(
        [put(tmp_path, labelled("tab", of))], config("char", valid_fraction=0.3)
    )
    parts = [
        {corpus.tokenizer.decode(ids.tolist()) for ids in part.texts(np.arange(len(part)))}
        for part in (corpus.train, corpus.valid)
    ]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == {text for _, text in of}
    assert len(corpus.train) + len(corpus.valid) == 300
