"""A corpus of labelled texts: its parts, its labels, what is read of them and what is told."""

import gzip
import itertools
import random
import tracemalloc

import numpy as np
import pytest

from charlm.config import TextConfig
from charlm.errors import DataError, MissingInputError, UsageError
from charlm.text import duplicates, parts
from charlm.text.duplicates import TextHashes, duplicate_notes, shared_note
from charlm.text.labelled import gold_lines, prepare_labelled
from charlm.text.labelled import labelled_part as gold_part
from charlm.text.parts import gather
from charlm.text.reading import Scratch, open_file

every_tokenizer = pytest.mark.parametrize("kind", ["char", "byte", "word"])
NAMES = ["ham", "spam", "été"]


def config(kind="char", **settings):
    return TextConfig(kind, **({"min_count": 1} if kind == "word" else {}), **settings)


def drawn(count, seed=0):
    """Return so many (label, text), the texts all different."""
    draw = random.Random(seed)
    return [(draw.choice(NAMES), f"{number} {' '.join(draw.choices(['là', 'b,', 'c'], k=draw.randrange(9)))}".strip())
            for number in range(count)]  # fmt: skip


def written(folder, pairs, name="texts.tsv"):
    path = folder / name
    path.write_bytes("".join(f"{label}\t{text}\n" for label, text in pairs).encode())
    return str(path)


def everything(corpus, part):
    """Return (label, text) of a part as its ids tell."""
    numbers = np.arange(len(part))
    names = (*corpus.names, None)
    texts = [corpus.tokenizer.decode(ids) for ids in part.texts(numbers)]
    return [(names[label], text) for label, text in zip(part.labels(numbers), texts, strict=True)]


def of_all(corpus):
    return [everything(corpus, part) for part in (corpus.train, corpus.valid, corpus.test)]


# Parts


@every_tokenizer
def test_every_text_is_in_one_part_with_its_label(tmp_path, kind):
    pairs = drawn(600)
    corpus = prepare_labelled([written(tmp_path, pairs)], config(kind, test_fraction=0.2))
    parts = of_all(corpus)
    known = [
        (label, corpus.tokenizer.decode(corpus.tokenizer.encode(text))) for label, text in pairs
    ]
    assert sorted(itertools.chain(*parts)) == sorted(known)
    assert kind == "word" or known == pairs
    assert [len(part) for part in parts] == pytest.approx([420, 60, 120], abs=30)
    for part, read in zip((corpus.train, corpus.valid, corpus.test), parts, strict=True):
        assert kind == "word" or read == [pair for pair in pairs if pair in set(read)]  # in order
        assert part.counts.tolist() == [
            sum(label == name for label, _ in read) for name in corpus.names
        ]
        lengths = list(map(len, part.texts(np.arange(len(part)))))
        assert part.lengths(np.arange(len(part))).tolist() == lengths
        assert part.tokens == sum(lengths) + len(part)
        assert (part.unseen, part.cut) == (0, 0)
    assert corpus.names == ("ham", "spam", "été")
    assert (corpus.labels, corpus.reason) == (
        "tab",
        "labels: tab, because each of 600 lines has a tab",
    )
    assert corpus.notes == ()


def test_where_a_text_falls_is_its_own_matter(tmp_path):
    """Neither labels, nor order, nor its neighbours, nor the tokenizer matter; the seed does."""
    pairs = drawn(400)
    first = prepare_labelled([written(tmp_path, pairs)], config(test_fraction=0.1))
    texts = [{text for _, text in part} for part in of_all(first)]
    other = [("x" if label == "ham" else "y", text) for label, text in reversed(pairs)]
    halves = [written(tmp_path, other[:150], "a"), written(tmp_path, other[150:], "b")]
    for paths, settings in (
        (halves, config(test_fraction=0.1)),
        (halves[::-1], config("byte", test_fraction=0.1)),
    ):
        again = prepare_labelled(paths, settings)
        assert [{text for _, text in part} for part in of_all(again)] == texts
    fewer = prepare_labelled(halves[:1], config(test_fraction=0.1))
    assert all(
        {text for _, text in part} <= whole
        for part, whole in zip(of_all(fewer), texts, strict=True)
    )
    seed = prepare_labelled(halves, config(test_fraction=0.1, split_seed=1))
    assert {text for _, text in of_all(seed)[1]} != texts[1]


def test_equal_texts_fall_into_one_part_and_are_told(tmp_path):
    pairs = drawn(300)
    again = [
        *pairs,
        *pairs[:50],
        *((NAMES[(NAMES.index(label) + 1) % 3], text) for label, text in pairs[50:60]),
    ]
    corpus = prepare_labelled([written(tmp_path, again)], config(test_fraction=0.3))
    texts = [{text for _, text in part} for part in of_all(corpus)]
    assert not any(one & other for one, other in itertools.combinations(texts, 2))
    ambiguous = len(texts[0] & {text for _, text in pairs[50:60]})
    assert corpus.notes == (
        f"{ambiguous} texts of the training part stand there under several labels",
        "50 of 360 texts repeat another, the label too",
    )


@pytest.mark.parametrize("form", ["file", "tab", "prefix", "first-word"])
@every_tokenizer
def test_every_form_gives_the_same_corpus(tmp_path, form, kind):
    pairs = sorted(drawn(200))
    expected = prepare_labelled([written(tmp_path, pairs)], config(kind))
    if form == "file":
        folder = tmp_path / "files"
        folder.mkdir()
        for name in NAMES:
            lines = "".join(f"{text}\n\n" for label, text in pairs if label == name)
            (folder / f"{name}.txt.gz").write_bytes(gzip.compress(lines.encode()))
        paths = [str(folder)]
    else:
        line = {"tab": "{}\t{}\n", "prefix": "__label__{} {}\n", "first-word": "{} {}\n"}[form]
        (tmp_path / "lines").write_text(
            "".join(line.format(*pair) for pair in pairs), encoding="utf-8"
        )
        paths = [str(tmp_path / "lines")]
    corpus = prepare_labelled(paths, config(kind), form)
    for one, other in zip(
        (corpus.train, corpus.valid), (expected.train, expected.valid), strict=True
    ):
        assert (one.digest, one.text_digest) == (other.digest, other.text_digest)
    assert corpus.labels == form
    assert corpus.paths == (
        (*(f"{paths[0]}/{name}.txt.gz" for name in NAMES),) if form == "file" else tuple(paths)
    )
    assert corpus.notes == ((f"{paths[0]}: 3 text files",) if form == "file" else ())


@every_tokenizer
def test_blocks_do_not_matter(tmp_path, kind, monkeypatch):
    path = written(tmp_path, drawn(100))
    whole = prepare_labelled([path], config(kind), longest=8)
    monkeypatch.setattr("charlm.text.labelled._BLOCK_LINES", 3)
    pieces = prepare_labelled([path], config(kind), longest=8, block=5)
    for one, other in ((whole.train, pieces.train), (whole.valid, pieces.valid)):
        assert (one.digest, one.text_digest, one.tokens) == (
            other.digest,
            other.text_digest,
            other.tokens,
        )
        assert one.ids.characters == other.ids.characters
        assert one.cut == other.cut > 0
    assert of_all(whole) == of_all(pieces)


def test_digests_tell_ids_labels_names_and_texts(tmp_path):
    def digests(pairs, **settings):
        part = prepare_labelled(
            [written(tmp_path, pairs)], config(valid_fraction=0.0, **settings)
        ).train
        return part.digest, part.text_digest

    pairs = [("a", "xx"), ("b", "yy"), ("a", "zz")]
    first = digests(pairs)
    assert digests(pairs) == first
    swapped = digests([("b", "xx"), ("a", "yy"), ("a", "zz")])
    renamed = digests([("a", "xx"), ("c", "yy"), ("a", "zz")])
    other = digests([("a", "xx"), ("b", "yz"), ("a", "zz")])
    for kind in range(2):
        assert len({of[kind] for of in (first, swapped, renamed, other)}) == 4
    lower = digests([("a", "XX"), *pairs[1:]], lowercase=True)
    assert lower[0] == first[0] != lower[1]


@every_tokenizer
def test_labels_and_vocabulary_are_those_of_the_training_part(tmp_path, kind):
    """A label and a token of its own for every text: the other parts have none that is known."""
    pairs = [(f"label {number}", chr(0x4E00 + number)) for number in range(200)]
    corpus = prepare_labelled([written(tmp_path, pairs)], config(kind, valid_fraction=0.3))
    assert corpus.names == tuple(sorted(label for label, _ in everything(corpus, corpus.train)))
    assert (len(corpus.train.names), corpus.train.unknown) == (len(corpus.train), 0)
    assert corpus.valid.unseen == len(corpus.valid) == sum(corpus.valid.unseen_names.values()) > 30
    assert (corpus.valid.labels(np.arange(len(corpus.valid))) == -1).all()
    assert kind == "byte" or corpus.valid.unknown == len(corpus.valid)


# What is read of a part


@every_tokenizer
@pytest.mark.parametrize("near", [0, 3, 256])
def test_texts_are_read_in_any_order(tmp_path, kind, near, monkeypatch):
    monkeypatch.setattr(parts, "_NEAR", near)
    corpus = prepare_labelled([written(tmp_path, drawn(300))], config(kind))
    part = corpus.train
    whole = everything(corpus, part)
    for seed in range(5):
        numbers = np.random.default_rng(seed).integers(0, len(part), 40)
        texts = [corpus.tokenizer.decode(ids) for ids in part.texts(numbers)]
        assert texts == [whole[number][1] for number in numbers]
        assert [corpus.names[label] for label in part.labels(numbers)] == [
            whole[number][0] for number in numbers
        ]
        assert part.lengths(numbers).tolist() == [len(ids) for ids in part.texts(numbers)]
    nothing = np.zeros(0, np.int64)
    assert part.texts(nothing) == []
    assert part.labels(nothing).shape == part.lengths(nothing).shape == (0,)


class Counted(Scratch):
    """A temporary file that notes what is read of it."""

    def __init__(self):
        super().__init__()
        self.reads = []

    def read(self, offset, count):
        self.reads.append((offset, count))
        return super().read(offset, count)


def test_near_pieces_are_read_together_and_far_ones_apart():
    file = Counted()
    file.write(np.arange(100_000, dtype=np.int32).data)
    starts, counts = np.array([90_000, 10, 11, 10, 50_000, 12]), np.array([3, 2, 0, 4, 1, 1])
    expected = [90_000, 90_001, 90_002, 10, 11, 10, 11, 12, 13, 50_000, 12]
    assert gather(file, np.dtype(np.int32), starts, counts).tolist() == expected
    assert file.reads == [(40, 16), (200_000, 4), (360_000, 12)]


@every_tokenizer
def test_texts_are_cut_at_the_longest(tmp_path, kind):
    pairs = [("a", "x " * 9), ("b", "y"), ("a", "z " * 30)]
    path = written(tmp_path, pairs)
    corpus = prepare_labelled([path], config(kind, valid_fraction=0.0), longest=9)
    whole = prepare_labelled([path], config(kind, valid_fraction=0.0)).train
    found = corpus.train.texts(np.arange(3))
    assert [ids.tolist() for ids in found] == [
        ids[:9].tolist() for ids in whole.texts(np.arange(3))
    ]
    count = 1 if kind == "word" else 2
    verb = "is" if count == 1 else "are"
    assert corpus.train.cut == count
    assert corpus.notes == (f"{count} of 3 texts {verb} longer than 9 tokens and {verb} cut there",)
    assert corpus.train.text_digest == whole.text_digest
    assert corpus.train.tokens == sum(map(len, found)) + 3


def test_what_is_unknown_is_counted(tmp_path):
    path, valid = (
        written(tmp_path, [("a", "xy"), ("b", "yx")]),
        written(tmp_path, [("a", "xyz")], "valid"),
    )
    corpus = prepare_labelled([path], config(), None, [valid])
    assert (corpus.train.unknown, corpus.valid.unknown) == (0, 1)


def test_a_pattern_of_words_does_not_see_the_next_line(tmp_path):
    path = written(tmp_path, [("a", "one two"), ("b", "three"), ("a", "four")])
    settings = TextConfig("word", word_pattern=r"\w+\s?", min_count=1, valid_fraction=0.0)
    corpus = prepare_labelled([path], settings)
    numbers = np.arange(3)
    alone = [corpus.tokenizer.encode(text).tolist() for text in ("one two", "three", "four")]
    assert [ids.tolist() for ids in corpus.train.texts(numbers)] == alone
    assert corpus.train.unknown == 0


# Files of validation and of test


def test_given_files_take_the_place_of_the_shares(tmp_path):
    pairs = drawn(100)
    path = written(tmp_path, pairs)
    valid = [
        written(tmp_path, drawn(20, 1), "v1"),
        written(tmp_path, [*pairs[:7], ("new", "x"), ("other", "y")], "v2"),
    ]
    corpus = prepare_labelled([path], config(test_fraction=0.2), None, valid)
    assert everything(corpus, corpus.valid)[:20] == drawn(20, 1)
    again = prepare_labelled([path], config(), None, [valid[0], valid[0]])
    assert (len(again.valid), again.notes) == (
        40,
        (),
    )  # what is repeated there is no matter of the corpus
    assert len(corpus.valid) == 29
    assert len(corpus.train) + len(corpus.test) == 100
    assert corpus.names == ("ham", "spam", "été")
    assert corpus.valid.labels(np.array([27, 28])).tolist() == [-1, -1]
    assert (corpus.valid.unseen, dict(corpus.valid.unseen_names)) == (2, {"new": 1, "other": 1})
    shared = {text for _, text in everything(corpus, corpus.train)} & {
        text for _, text in pairs[:7]
    }
    assert corpus.notes == (
        f"{len(shared)} of 29 validation texts stand in the training part too ({100 * len(shared) / 29:.3g} %): "
        "that share is not new text",
        "2 validation texts have labels that training has not, which count as wrong: new, other",
    )


def test_gold_lines_of_labels_by_file(tmp_path):
    for name in ("jig", "reel"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one\n{name} two\n")
    gold = written(tmp_path, [("reel", "a"), ("jig", "b")], "gold.tsv")
    paths = [str(tmp_path / "jig.txt"), str(tmp_path / "reel.txt")]
    corpus = prepare_labelled(paths, config(), "file", [gold], [gold, paths[0]])
    assert corpus.valid.labels(np.arange(2)).tolist() == [1, 0]
    assert corpus.test.labels(np.arange(4)).tolist() == [1, 0, 0, 0]


@every_tokenizer
def test_a_gold_part_and_its_lines(tmp_path, kind):
    corpus = prepare_labelled([written(tmp_path, drawn(50))], config(kind))
    pairs = [("été", "là b,"), ("new", "c"), ("ham", "là " * 9)]
    paths = [written(tmp_path, pairs[:1], "g1"), written(tmp_path, pairs[1:], "g2")]
    part, notes = gold_part(paths, corpus.tokenizer, corpus.names, "tab", 7)
    assert list(gold_lines(paths, corpus.tokenizer, corpus.names, "tab")) == pairs
    assert part.labels(np.arange(3)).tolist() == [2, -1, 0]
    assert [ids.tolist() for ids in part.texts(np.arange(3))] == [
        corpus.tokenizer.encode(text)[:7].tolist() for _, text in pairs
    ]
    assert notes[-1] in ("1 of 3 texts is longer than 7 tokens and is cut there",
                         "2 of 3 texts are longer than 7 tokens and are cut there")  # fmt: skip
    assert notes[0] == "1 given text has a label that training has not, which count as wrong: new"
    empty = written(tmp_path, [], "empty")
    with pytest.raises(DataError, match="empty: holds no text"):
        gold_part([empty], corpus.tokenizer, corpus.names, "tab")


# A model's own tokenizer and labels


def test_a_models_tokenizer_and_labels_are_kept_or_grow(tmp_path):
    first = prepare_labelled(
        [written(tmp_path, [("b", "xx"), ("c", "yy")])], config(valid_fraction=0.0)
    )
    other = written(tmp_path, [("c", "xz"), ("a", "y"), ("a", "zz")], "other")
    settings = config(valid_fraction=0.0)
    with pytest.raises(DataError, match="the model has 2 labels and not 'a'"):
        prepare_labelled([other], settings, None, (), (), first.tokenizer, first.names)
    grown = prepare_labelled(
        [other], settings, None, (), (), first.tokenizer, first.names, grow=True
    )
    assert grown.names == ("b", "c", "a")
    assert grown.tokenizer.to_dict()["tokens"] == [*first.tokenizer.to_dict()["tokens"], "z"]
    assert grown.train.counts.tolist() == [0, 1, 2]
    kept = prepare_labelled([other], settings, None, (), (), first.tokenizer, ["a", "b", "c"])
    assert kept.tokenizer is first.tokenizer
    assert (kept.train.unknown, kept.train.labels(np.arange(3)).tolist()) == (3, [2, 0, 0])


# What cannot be


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("", "texts: the corpus holds nothing: it is empty"),
        ("\n \n", "texts: the corpus holds nothing but white space"),
        ("a\tb\na\tc\n", "there must be two labels or more: all 2 texts are `a`"),
        ("a\tb\n", "there must be two labels or more: the only text is `a`"),
        ("a\t\nb\t\n", "the training part of the corpus holds no token"),
        ("a\tx\nb\tx\nb\n", "texts: line 3 has no tab"),
    ],
)
@pytest.mark.parametrize("kind", ["char", "byte"])
def test_what_no_classifier_can_learn_from(tmp_path, lines, problem, kind):
    (tmp_path / "texts").write_text(lines)
    with pytest.raises(DataError, match=problem):
        prepare_labelled([str(tmp_path / "texts")], config(kind, valid_fraction=0.0), "tab")


def test_settings_of_documents_are_refused(tmp_path):
    path = written(tmp_path, drawn(9))
    for settings in ({"sequences": "document"}, {"hold_out": "files"}):
        with pytest.raises(UsageError, match="does not go with labels"):
            prepare_labelled([path], config(**settings))
    with pytest.raises(UsageError, match="standard input"):
        prepare_labelled(["-"], config(), None, ["-"])
    with pytest.raises(MissingInputError):
        prepare_labelled([str(tmp_path / "none")], config())


def test_more_labels_than_there_can_be(tmp_path, monkeypatch):
    monkeypatch.setattr("charlm.text.labelled.MOST_LABELS", 30)
    path = written(tmp_path, [(f"label {number}", "x") for number in range(31)])
    with pytest.raises(DataError, match="more than 30 different labels: labels tab took them"):
        prepare_labelled([path], config(valid_fraction=0.0))


def test_labels_that_are_rather_texts_are_told(tmp_path):
    path = written(tmp_path, [(f"text {number}", f"{number}") for number in range(30)])
    notes = prepare_labelled([path], config(valid_fraction=0.0)).notes
    assert notes == (
        "30 of 30 labels stand only once: is that what --labels should take for a label?",
    )


def test_an_empty_validation_part_is_told(tmp_path):
    corpus = prepare_labelled([written(tmp_path, drawn(3))], config(valid_fraction=0.01))
    assert len(corpus.valid) == 0
    assert corpus.notes == (
        "the validation part is empty: of 3 texts none was drawn (name one with --valid-file)",
    )


def test_binary_and_marked_up_files_are_told(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<html>\tx\na\ty\n")
    notes = prepare_labelled([str(path)], config(valid_fraction=0.0)).notes
    assert notes == (f"{path}: looks like HTML, whose marks are learnt as text",)


# Memory


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    pairs = drawn(400)
    peaks = []
    for times in (15, 60):
        path = written(
            tmp_path, [(label, f"{text} {k}") for k in range(times) for label, text in pairs]
        )
        tracemalloc.start()
        corpus = prepare_labelled([path], config(valid_fraction=0.0), block=1 << 14)
        corpus.train.texts(np.arange(0, len(corpus.train), len(corpus.train) // 60))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(corpus.train) == 400 * times
    assert peaks[1] < 1.2 * peaks[0]


def test_of_very_many_texts_some_are_compared(monkeypatch):
    hashes = np.random.default_rng(0).integers(0, 1 << 64, 40_000, np.uint64)
    train, held = TextHashes(), TextHashes()
    for chosen in np.array_split(np.concatenate([hashes, hashes[:10_000]]), 7):
        train.add(chosen, np.zeros(len(chosen), np.int32))
    train.add(hashes[:4000], np.ones(4000, np.int32))
    train.add(hashes[:100], np.full(100, 2, np.int32))
    held.add(
        np.concatenate([hashes[:5000], hashes[:5000] + np.uint64(1)]), np.zeros(10_000, np.int32)
    )
    exact = list(duplicate_notes([train])), shared_note(train, held, "test")
    assert exact == (
        ["4,000 texts of the training part stand there under several labels",
         "10,000 of 54,100 texts repeat another, the label too"],
        "5,000 of 10,000 test texts stand in the training part too (50 %): that share is not new text",
    )  # fmt: skip
    monkeypatch.setattr(duplicates, "_AT_A_TIME", 1000)
    assert (list(duplicate_notes([train])), shared_note(train, held, "test")) == exact
    monkeypatch.setattr(duplicates, "_MOST_TEXTS", 4096)
    ambiguous, repeated = duplicate_notes([train])
    assert ambiguous.startswith("about ")
    assert int(ambiguous.split()[1].replace(",", "")) == pytest.approx(4000, rel=0.2)
    assert int(repeated.split()[1].replace(",", "")) == pytest.approx(10_000, rel=0.2)
    shared = shared_note(train, held, "test")
    assert shared.startswith("about ")
    assert int(shared.split()[1].replace(",", "")) == pytest.approx(5000, rel=0.2)
    assert len(train.drawn()[0]) < 2 * 4096


def test_standard_input_is_read_as_a_file(tmp_path, monkeypatch):
    import io

    class Stdin:
        buffer = io.BytesIO(b"a\tx\nb\ty\na\tz\n")
        buffer.isatty = lambda: False

    monkeypatch.setattr("sys.stdin", Stdin)
    opened = open_file("-")
    corpus = prepare_labelled([opened], config(valid_fraction=0.0))
    assert everything(corpus, corpus.train) == [("a", "x"), ("b", "y"), ("a", "z")]
    assert corpus.paths == ("standard input",)
    with pytest.raises(UsageError, match="standard input has none"):
        prepare_labelled([opened], config(), "file")
