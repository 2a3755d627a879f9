"""Corpora: reading in blocks of any size, sequences, splits, the training part's vocabulary, ids on disk."""

import gzip
import hashlib
import io
import itertools
import os
import sys
import tempfile
import threading
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from charlm.config import TextConfig
from charlm.errors import DataError, MissingInputError, StorageError, UsageError
from charlm.text.contents import compression
from charlm.text.corpus import prepare
from charlm.text.parts import Part
from charlm.text.reading import TextFile, nonblank_lines, text_blocks, whole_words
from charlm.text.splitting import line_parts
from charlm.text.tokenizers import EOS, UNK

SHARED = Path(__file__).parent / "../../shared/data"
ALL = {"valid_fraction": 0.0}  # nothing held out
NASTY = (
    "\ufeffone two\r\n\r\n  \t\r\ntwo one,\rone é中😀\u0301\u2028one\x0btwo\n \n"
    "it's\ta \ufeff<unk> “two”!\n\x85\n\r\r\n\u00a0two \n one"
)


def put(folder: Path, content: bytes | str, name: str = "corpus.txt") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read_sequences(corpus, part) -> list[str]:
    """The text of every sequence of a part."""
    ids = part.read(0, len(part))
    ends = np.flatnonzero(ids == EOS) + 1
    assert len(ids) == 0 or ends[-1] == len(ids)
    return [corpus.tokenizer.decode(piece) for piece in np.split(ids, ends)[:-1]]


def facts(corpus) -> list:
    """All that must not depend on the size of a block."""
    parts = (corpus.train, corpus.valid, corpus.test)
    counts = [(len(p), p.sequences, p.characters, p.unknown, p.digest) for p in parts]
    return [corpus.tokenizer.to_dict(), corpus.sequences, corpus.reason, counts]


# Blocks


@pytest.mark.parametrize("mode", ["line", "paragraph", "document"])
@pytest.mark.parametrize("kind", ["char", "byte", "word"])
def test_the_size_of_a_block_changes_nothing(tmp_path, kind, mode):
    config = TextConfig(kind, sequences=mode, valid_fraction=0.3, test_fraction=0.2, split_seed=0)
    paths = [put(tmp_path, NASTY, "one"), put(tmp_path, NASTY.replace("one", "three"), "two")]
    whole = facts(prepare(paths, config))
    assert all(length > 1 for length, *_ in whole[-1])
    for block in range(1, 8):
        assert facts(prepare(paths, config, block=block)) == whole


@settings(deadline=None)
@given(
    text=st.lists(st.sampled_from([*"ab \n\r\té中😀,'", "\r\n", "\ufeff", "\u2028", "\x85", "<unk>"])).map("".join),
    kind=st.sampled_from(["char", "byte", "word"]),
    mode=st.sampled_from(["auto", "line", "paragraph", "document"]),
    block=st.integers(1, 7),
)
def test_the_size_of_a_block_changes_nothing_in_any_text(tmp_path_factory, text, kind, mode, block):
    path = put(tmp_path_factory.getbasetemp(), text + "\nthe the", "any")
    config = TextConfig(kind, sequences=mode, min_count=None if kind == "byte" else 1, valid_fraction=0.2)

    def outcome(**settings):
        try:
            return facts(prepare([path], config, **settings))
        except DataError as error:
            return str(error)

    assert outcome(block=block) == outcome()


@settings(deadline=None)
@given(st.binary(), st.integers(1, 5))
def test_bytes_are_read_untouched(tmp_path_factory, data, block):
    assume(compression(data) is None)
    path = put(tmp_path_factory.getbasetemp(), data, "bytes")
    assert "".join(text_blocks(TextFile(path), None, block)).encode("latin-1") == data


@settings(deadline=None)
@given(st.text("ab\r\n\ufeff"), st.integers(1, 5))
def test_a_bom_is_dropped_and_crlf_is_lf(tmp_path_factory, text, block):
    path = put(tmp_path_factory.getbasetemp(), text, "crlf")
    expected = text.removeprefix("\ufeff").replace("\r\n", "\n")
    assert "".join(text_blocks(TextFile(path), "utf-8", block)) == expected


@settings(deadline=None)
@given(st.lists(st.text("ab \n\t\u2028\x1c")))
def test_blank_lines_are_dropped(texts):
    expected = [line for line in "".join(texts).split("\n") if line.strip()]
    assert "".join(nonblank_lines(texts)) == "".join(f"{line}\n" for line in expected)


@settings(deadline=None)
@given(st.lists(st.text("ab \n,")))
def test_blocks_of_whole_words_end_between_words(texts):
    blocks = [block for block in whole_words(texts) if block]
    assert "".join(blocks) == "".join(texts)
    for block, following in itertools.pairwise(blocks):
        assert block.endswith("\n") or following[0].isspace()


# Reading


@pytest.mark.parametrize(
    ("data", "encoding", "problem"),
    [
        (b"\xffabc", "utf-8", "byte 0xff at offset 0 is not valid utf-8 (invalid start byte)"),
        (b"\xef\xbb\xbfab\r\nc\xff\xc3\xa9", "utf-8", "byte 0xff at offset 8 is not valid utf-8 (invalid start byte)"),
        ("é中😀".encode() + b"\xe2x", "utf-8", "byte 0xe2 at offset 9 is not valid utf-8 (invalid continuation"),
        (b"abc\xff", "utf-8", "byte 0xff at offset 3 is not valid utf-8"),
        ("ab中".encode()[:-1], "utf-8", "byte 0xe4 at offset 2 is not valid utf-8 (unexpected end of data)"),
        (b"ab\x81", "cp1252", "byte 0x81 at offset 2 is not valid cp1252"),
        ("ab".encode("utf-16") + b"c", "utf-16", "byte 0x63 at offset 6 is not valid utf-16 (truncated data)"),
        (b"abcd", "utf-16", "UTF-16 stream does not start with BOM"),
        (b"ab\x81", "gbk", "byte 0x81 at offset 2 is not valid gbk"),
    ],
    ids=["first", "middle", "continuation", "last", "cut-off", "cp1252", "utf-16-odd", "utf-16-no-bom", "gbk"],
)
def test_a_byte_that_does_not_belong_is_located(tmp_path, data, encoding, problem):
    path = put(tmp_path, data)
    for block in (1, 2, 3, 1 << 20):
        with pytest.raises(DataError) as caught:
            prepare([path], TextConfig(encoding=encoding), block=block)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert problem in message
        assert message.endswith("or use a model of bytes (train it with --tokenizer byte)")


@pytest.mark.parametrize("name", ["nonsense", "hex", "", "undefined", "a\0b"])
def test_an_unknown_encoding_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"unknown encoding|encoding must be"):
        prepare([put(tmp_path, "text")], TextConfig(encoding=name))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "utf-32"])
def test_other_encodings(tmp_path, encoding):
    path = put(tmp_path, "\ufeffé中😀\r\n".encode(encoding))
    corpus = prepare([path], TextConfig(encoding=encoding, **ALL), block=1)
    assert read_sequences(corpus, corpus.train) == ["é中😀\n"]


def test_binary_data_is_bytes(tmp_path):
    data = bytes(range(256)) * 2 + b"\r\n\0"
    corpus = prepare([put(tmp_path, data)], TextConfig("byte", sequences="document", **ALL))
    assert corpus.train.read(0, len(data)).tolist() == [2 + value for value in data]
    assert (len(corpus.train), corpus.train.characters) == (len(data) + 1, len(data))
    with pytest.raises(DataError, match="byte 0x80 at offset 128"):
        prepare([put(tmp_path, data)], TextConfig())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent", "absent: cannot be read: No such file"),
        (lambda folder: folder / "corpus.txt" / "under", "cannot be read: Not a directory"),
        (lambda folder: folder / ("x" * 300), "cannot be read: File name too long"),
    ],
    ids=["absent", "under-a-file", "long-name"],
)
@pytest.mark.parametrize("use", ["corpus", "valid_file", "test_file"])
def test_a_file_that_is_not_there(tmp_path, make, message, use):
    good = put(tmp_path, "text")
    bad = str(make(tmp_path))
    paths, settings = ([good, bad], {}) if use == "corpus" else ([good], {use: bad})
    with pytest.raises(MissingInputError, match=message):
        prepare(paths, TextConfig(), **settings)


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_gzip(tmp_path, block):
    plain = prepare([put(tmp_path, NASTY)], TextConfig())
    packed = prepare([put(tmp_path, gzip.compress(NASTY.encode()), "c.GZ")], TextConfig(), block=block)
    assert facts(packed) == facts(plain)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9],
        lambda data: data[:-1],
        lambda data: data[:12],
        lambda data: data[:30] + bytes([data[30] ^ 255]) + data[31:],
        lambda data: data[:-8] + b"\0\0\0\0" + data[-4:],
    ],
    ids=["cut-data", "cut-length", "cut-early", "flipped", "checksum"],
)
def test_a_damaged_gzip_file(tmp_path, damage):
    content = bytes(np.random.default_rng(0).integers(0, 256, 3000, np.uint8))
    path = put(tmp_path, damage(gzip.compress(content)), "c.gz")
    with pytest.raises(DataError, match=r"c\.gz: damaged or cut-off gzip file"):
        prepare([path], TextConfig("byte"))


def test_standard_input_is_read_once_and_spooled(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(NASTY.encode())))
    spooled = prepare(["-"], TextConfig("word", min_count=1), block=3)
    assert facts(spooled) == facts(prepare([put(tmp_path, NASTY)], TextConfig("word", min_count=1)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(DataError, match="standard input: the corpus holds nothing: it is empty"):
        prepare(["-"], TextConfig())
    with pytest.raises(UsageError, match="can be read only once"):
        prepare(["-"], TextConfig(), valid_file="-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(MissingInputError, match="standard input is closed"):
        prepare(["-"], TextConfig())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_spooled_too(tmp_path):
    pipe = tmp_path / "pipe.gz"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(gzip.compress(NASTY.encode())))
    writer.start()
    piped = prepare([str(pipe)], TextConfig())
    writer.join()
    assert facts(piped) == facts(prepare([put(tmp_path, NASTY)], TextConfig()))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said(tmp_path, monkeypatch):
    full = lambda **settings: open("/dev/full", "w+b", **settings)  # noqa: E731, SIM115
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(StorageError, match="temporary file failed: No space left on device; free some space"):
        prepare([put(tmp_path, NASTY)], TextConfig())


def test_a_device_that_takes_a_few_bytes_at_a_time(tmp_path, monkeypatch):
    class Slow(io.FileIO):
        def write(self, data):
            return super().write(bytes(data)[:3])

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Slow(tmp_path / "ids", "w+"))
    assert Part.from_ids(range(100)).read(0, 100).tolist() == list(range(100))


# Sequences


@pytest.mark.parametrize("kind", ["char", "byte", "word"])
@pytest.mark.parametrize(
    ("text", "expected", "reason"),
    [
        ("a a\nb b\n", "line", "none of 2 lines is blank"),
        ("a a\nb b", "line", "none of 2 lines is blank"),
        ("a a\n\nb b", "document", "1 of 3 lines is blank"),
        ("a a\n\r\nb b", "document", "1 of 3 lines is blank"),
        ("a a\n \t\nb b\n", "document", "1 of 3 lines is blank"),
        ("a a\n" * 99 + "\n", "document", "1 of 100 lines is blank"),
        ("a a\n" * 2000 + "\n", "line", "only 1 of 2,001 lines is blank"),
        ("a a\n" * 2000 + "\n\n", "line", "only 2 of 2,002 lines are blank"),
        ("a a", "document", "the corpus is a single line"),
        ("a a\n", "document", "the corpus is a single line"),
        ("a\ra\rb\r", "document", "the corpus is a single line"),
        ("a a\x0bb\u2028a\x85b", "document", "the corpus is a single line"),
    ],
)
def test_what_auto_takes_for_a_sequence(tmp_path, kind, text, expected, reason):
    corpus = prepare([put(tmp_path, text)], TextConfig(kind, min_count=None if kind == "byte" else 1, **ALL))
    assert (corpus.sequences, reason in corpus.reason) == (expected, True)


def test_one_decision_for_all_files(tmp_path):
    one, two = put(tmp_path, "ab\n", "one"), put(tmp_path, "cd\n\n", "two")
    assert prepare([one, one], TextConfig(**ALL)).sequences == "line"
    corpus = prepare([one, two], TextConfig(**ALL), valid_file=one)
    assert (corpus.sequences, corpus.train.sequences) == ("document", 2)
    assert read_sequences(corpus, corpus.valid) == ["ab\n"]


def test_a_setting_or_an_earlier_decision_wins_over_auto(tmp_path):
    path = put(tmp_path, "ab\n\ncd")
    assert prepare([path], TextConfig(**ALL)).sequences == "document"
    assert prepare([path], TextConfig(sequences="line", **ALL)).reason == "sequences: line, as set"
    assert prepare([path], TextConfig(**ALL), sequences="line").train.sequences == 2


def test_lines_are_sequences_without_their_newline(tmp_path):
    corpus = prepare([put(tmp_path, "ab\n\n cd \r\n \na\u2028b\rc")], TextConfig(sequences="line", **ALL))
    assert read_sequences(corpus, corpus.train) == ["ab", " cd ", "a\u2028b\rc"]
    assert (corpus.train.sequences, corpus.train.characters) == (3, 11)
    assert corpus.tokenizer.newline is None


def test_a_line_of_bytes_keeps_its_carriage_return(tmp_path):
    corpus = prepare([put(tmp_path, b"\xef\xbb\xbfab\r\n\r\ncd")], TextConfig("byte", sequences="line", **ALL))
    ids = [2 + value for value in b"\xef\xbb\xbfab\r"] + [EOS, 2 + ord("c"), 2 + ord("d"), EOS]
    assert corpus.train.read(0, len(corpus.train)).tolist() == ids
    assert corpus.train.characters == 8


def test_each_file_is_a_document(tmp_path):
    paths = [put(tmp_path, "ab\n\ncd\n", "one"), put(tmp_path, "", "empty"), put(tmp_path, "efg", "two")]
    corpus = prepare(paths, TextConfig(**ALL))
    assert read_sequences(corpus, corpus.train) == ["ab\n\ncd\n", "efg"]
    assert (corpus.train.sequences, corpus.train.characters, corpus.paths) == (2, 10, tuple(paths))
    assert corpus.tokenizer.newline == 2


def test_a_word_document_has_newlines(tmp_path):
    corpus = prepare([put(tmp_path, "a a,\n\na <unk>\n")], TextConfig("word", min_count=1, **ALL))
    assert corpus.tokenizer.to_dict()["tokens"] == ["\n", "a", ","]
    assert corpus.train.read(0, len(corpus.train)).tolist() == [3, 3, 4, 2, 2, 3, UNK, 2, EOS]
    assert corpus.train.unknown == 1


@pytest.mark.parametrize("kind", ["char", "byte", "word"])
@pytest.mark.parametrize("mode", ["auto", "line", "paragraph", "document"])
@pytest.mark.parametrize(
    ("text", "found"),
    [("", "nothing: it is empty"), ("\n\n\n", "nothing but white space"), (" \t \r", "nothing but white space")],
    ids=["empty", "newlines", "spaces"],
)
def test_a_corpus_without_text_is_refused(tmp_path, kind, mode, text, found):
    path = put(tmp_path, text)
    with pytest.raises(DataError, match=f"corpus.txt: the corpus holds {found}$"):
        prepare([path], TextConfig(kind, sequences=mode))


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_one_character(tmp_path, kind):
    path = put(tmp_path, "a")
    corpus = prepare([path], TextConfig(kind, **ALL))
    assert read_sequences(corpus, corpus.train) == ["a"]
    with pytest.raises(DataError, match="training part of the corpus holds no token: give more text"):
        prepare([path], TextConfig(kind))


@pytest.mark.parametrize("use", ["valid_file", "test_file"])
def test_a_held_out_file_without_text_is_refused(tmp_path, use):
    with pytest.raises(DataError, match="held: holds no token"):
        prepare([put(tmp_path, "ab\ncd")], TextConfig(), **{use: put(tmp_path, "\n \n", "held")})


# Splits


def splitmix64(count: int) -> list[float]:
    """The generator as published, seeded with 0, in plain integers."""
    state, drawn = 0, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        drawn.append(((z ^ (z >> 31)) >> 11) / 2**53)
    return drawn


def test_the_part_of_a_line_is_its_hash_against_the_shares():
    drawn = splitmix64(1000)
    assert drawn[0] == pytest.approx(0xE220A8397B1DCDAF / 2**64)
    parts = line_parts(np.arange(1000, dtype=np.uint64), (0.2, 0.1), seed=0)
    assert parts.tolist() == [2 if u < 0.1 else 1 if u < 0.2 + 0.1 else 0 for u in drawn]


def test_line_shares_are_as_asked_for_every_seed():
    numbers = np.arange(100_000, dtype=np.uint64)
    for seed in (0, 1, 12345, 2**70):
        counts = np.bincount(line_parts(numbers, (0.1, 0.05), seed)) / len(numbers)
        assert counts == pytest.approx([0.85, 0.1, 0.05], abs=0.005)


def test_parts_share_out_the_lines_in_their_order(tmp_path):
    lines = [f"line {number}" for number in range(300)]
    files = ["\n".join(lines[:100]), "\n \n" + "\n".join(lines[100:]) + "\n"]
    paths = [put(tmp_path, text, str(place)) for place, text in enumerate(files)]
    config = TextConfig(sequences="line", valid_fraction=0.2, test_fraction=0.1, split_seed=7)
    corpus = prepare(paths, config)
    parts = line_parts(np.arange(300, dtype=np.uint64), (0.2, 0.1), 7)
    for number, part in enumerate((corpus.train, corpus.valid, corpus.test)):
        assert read_sequences(corpus, part) == [line for line, own in zip(lines, parts, strict=True) if own == number]


@pytest.mark.parametrize("kind", ["char", "byte"])
@pytest.mark.parametrize("length", [2, 9, 10, 11, 100, 1115])
@pytest.mark.parametrize(
    ("valid", "test", "ninths"), [(0.1, 0.0, (9, 10)), (0.4, 0.2, (4, 8)), (0.7, 0.1, (2, 9)), (0.0, 0.3, (7, 7))]
)
def test_a_document_is_cut_in_exact_shares(tmp_path, kind, length, valid, test, ninths):
    text = "".join("abcdefgh"[number % 8] for number in range(length))
    first, second = (length * tenths // 10 for tenths in ninths)
    path = put(tmp_path, text)
    config = TextConfig(kind, sequences="document", valid_fraction=valid, test_fraction=test)
    if first == 0:
        with pytest.raises(DataError, match="holds no token"):
            prepare([path], config)
        return
    corpus = prepare([path], config)
    found = [read_sequences(corpus, part) for part in (corpus.train, corpus.valid)]
    # A character outside the training part is <unk>, so count instead of comparing where the text is short.
    expected = [[text[:first]], [text[first:second]] if first < second else []]
    assert [[len(corpus.tokenizer.encode(s.replace("<unk>", "?"))) for s in part] for part in found] == [
        [len(s) for s in part] for part in expected
    ]
    assert found[0] == expected[0]
    assert corpus.test.characters == length - second


def test_a_split_of_tiny_shakespeare_is_the_usual_one():
    path = SHARED / "tinyshakespeare.txt"
    if not path.exists():
        pytest.skip("needs ../shared/data/tinyshakespeare.txt")
    data = path.read_text(encoding="utf-8")
    n = len(data)
    corpus = prepare([str(path)], TextConfig())
    assert read_sequences(corpus, corpus.train) == [data[: int(n * 0.9)]]
    assert read_sequences(corpus, corpus.valid) == [data[int(n * 0.9) :]]
    because = (
        "7,223 of 40,000 lines are blank "
        "(a text in each line: --sequences line; between blank lines: --sequences paragraph)"
    )
    assert corpus.reason == f"sequences: document, because {because}"


def test_penn_treebank_has_as_many_tokens_as_published():
    files = [SHARED / "ptb" / f"ptb.{part}.txt" for part in ("train", "valid", "test")]
    if not files[0].exists():
        pytest.skip("needs ../shared/data/ptb")
    config = TextConfig("word", word_pattern=r"\S+", min_count=1)
    train, valid, test = map(str, files)
    corpus = prepare([train], config, valid_file=valid, test_file=test)
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (929_589, 73_760, 82_430)
    assert (corpus.sequences, corpus.tokenizer.size) == ("line", 10_000)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.6, 0.9])
def test_a_document_of_words_is_cut_between_words(tmp_path, fraction):
    text = "one two three\nfour five six seven, eight\n\nnine ten\n"
    config = TextConfig("word", sequences="document", min_count=1, valid_fraction=fraction)
    corpus = prepare([put(tmp_path, text)], config)
    ids = np.concatenate([part.read(0, part.characters and len(part) - 1) for part in (corpus.train, corpus.valid)])
    known = corpus.train.read(0, len(corpus.train) - 1)
    assert np.array_equal(ids, corpus.tokenizer.encode(text))
    assert text.startswith(corpus.tokenizer.decode(known))
    cut = corpus.train.characters
    assert cut >= int(len(text) * (1 - fraction))
    assert text[cut - 1] == "\n" or text[cut].isspace()


def test_a_word_longer_than_a_share_stays_whole(tmp_path):
    config = TextConfig("word", sequences="document", min_count=1, valid_fraction=0.3, test_fraction=0.3)
    path = put(tmp_path, "a bbbbbbbbbbbbbbb\nc d")
    for block in (2, 1 << 20):
        corpus = prepare([path], config, block=block)
        assert read_sequences(corpus, corpus.train) == ["a bbbbbbbbbbbbbbb\n"]
        assert (len(corpus.valid), corpus.test.sequences, corpus.test.unknown) == (0, 1, 2)


def test_held_out_files_take_the_place_of_their_share(tmp_path):
    lines = "".join(f"{number}\n" for number in range(100))
    held = put(tmp_path, "12\n\n34\nx\n", "held")
    path = put(tmp_path, lines)
    corpus = prepare([path], TextConfig(test_fraction=0.1), valid_file=held)
    assert read_sequences(corpus, corpus.valid) == ["12", "34", "<unk>"]
    assert (corpus.valid.unknown, corpus.valid.characters) == (1, 5)
    assert corpus.train.sequences + corpus.test.sequences == 100
    assert 0 < corpus.test.sequences < 30
    both = prepare([path], TextConfig(test_fraction=0.1), valid_file=held, test_file=held)
    assert (both.train.sequences, both.valid.digest) == (100, both.test.digest)


# The vocabulary


def test_ids_follow_falling_count_then_code_point(tmp_path):
    corpus = prepare([put(tmp_path, "bbcaa\u00e9c!")], TextConfig(**ALL))
    assert corpus.tokenizer.to_dict()["tokens"] == ["a", "b", "c", "!", "é"]


def test_the_vocabulary_is_that_of_the_training_part(tmp_path):
    corpus = prepare([put(tmp_path, "ab" * 9 + "xa")], TextConfig())
    assert corpus.tokenizer.to_dict()["tokens"] == ["a", "b"]
    assert corpus.valid.read(0, 3).tolist() == [UNK, 2, EOS]
    assert (corpus.train.unknown, corpus.valid.unknown) == (0, 1)


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({}, ["a", "b", "c", "d"]),
        ({"vocab_size": 4}, ["a", "b"]),
        ({"vocab_size": 100}, ["a", "b", "c", "d"]),
        ({"min_count": 2}, ["a", "b", "c"]),
        ({"min_count": 3, "vocab_size": 3}, ["a"]),
    ],
)
def test_limits_of_the_vocabulary(tmp_path, settings, tokens):
    corpus = prepare([put(tmp_path, "aaaabbbccd")], TextConfig(**settings, **ALL))
    assert corpus.tokenizer.to_dict()["tokens"] == tokens
    kept = Counter(token for token in "aaaabbbccd" if token in tokens).total()
    assert (corpus.tokenizer.size, corpus.train.unknown) == (2 + len(tokens), 10 - kept)


def test_words_have_limits_of_their_own(tmp_path):
    rare = "".join(f"word{number} word{number} " for number in range(20_010))
    corpus = prepare([put(tmp_path, f"the the the once {rare}")], TextConfig("word", **ALL))
    assert corpus.tokenizer.size == 20_000
    assert corpus.tokenizer.token(2) == "the"
    assert corpus.train.unknown == 2 * (20_010 - 19_997) + 1


def test_limits_that_leave_nothing_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no token of the corpus is there 2 times: give a lower --min-count"):
        prepare([put(tmp_path, "one two")], TextConfig("word", **ALL))
    with pytest.raises(DataError, match="training part of the corpus holds no token"):
        prepare([put(tmp_path, "... !")], TextConfig("word", punctuation=False, **ALL))


def test_lowercase_is_counted_and_encoded(tmp_path):
    corpus = prepare([put(tmp_path, "The THE the\nİx\n")], TextConfig("word", lowercase=True, min_count=1, **ALL))
    assert corpus.tokenizer.to_dict()["tokens"] == ["the", "i\u0307x"]
    assert (corpus.train.unknown, corpus.train.characters) == (0, 13)


def test_a_tokenizer_at_hand_is_used(tmp_path):
    first = prepare([put(tmp_path, "abba\n\nab", "first")], TextConfig(**ALL))
    again = prepare([put(tmp_path, "bax\nb", "again")], TextConfig("word", **ALL), tokenizer=first.tokenizer)
    assert again.tokenizer is first.tokenizer
    assert read_sequences(again, again.train) == ["ba<unk>", "b"]
    other = TextConfig("word", **ALL)
    whole = prepare([put(tmp_path, "bax\nb", "again")], other, tokenizer=first.tokenizer, sequences="document")
    assert read_sequences(whole, whole.train) == ["ba<unk>\nb"]


# Ids on disk


@pytest.mark.parametrize("top", [5, 65_535, 65_536, 1_000_000])
def test_a_part_gives_back_its_ids(top):
    ids = np.random.default_rng(0).integers(0, top + 1, 2000, np.int32)[::2]
    ids[[7, -1]] = top, EOS
    part = Part.from_ids(ids)
    assert len(part) == 1000
    for start, count in [(0, 1000), (7, 1), (999, 1), (400, 300), (1000, 0)]:
        found = part.read(start, count)
        assert found.dtype == np.int32
        assert np.array_equal(found, ids[start : start + count])
    assert part.digest == hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()
    assert (part.sequences, part.unknown) == ((ids == EOS).sum(), (ids == UNK).sum())
    assert part.characters == (ids != EOS).sum()


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, 4), (4, 0), (2, -1), (3, 1)])
def test_reading_outside_a_part_is_refused(start, count):
    with pytest.raises(IndexError, match="not within a part of 3"):
        Part.from_ids([2, 3, EOS]).read(start, count)


def test_an_empty_part():
    part = Part.from_ids([])
    assert (len(part), part.sequences, part.read(0, 0).tolist()) == (0, 0, [])


@pytest.mark.parametrize("mode", ["line", "paragraph", "document"])
@pytest.mark.parametrize("kind", ["char", "byte", "word"])
def test_memory_does_not_grow_with_the_corpus(tmp_path, kind, mode):
    config = TextConfig(kind, sequences=mode, **ALL)
    prepare([put(tmp_path, "the man " * 2)], config)  # what is made once and kept does not count
    path = put(
        tmp_path, ("the man\n" if mode == "paragraph" else "the man ") * (1 << 17)
    )  # one text of 1 MiB
    tracemalloc.start()
    corpus = prepare([path], config, block=1 << 12)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert corpus.train.characters == (1 << 20) - (mode == "paragraph")
    tables = 12 * 0x110000 if kind == "char" else 0  # a count and an id of every code point
    assert peak < tables + (3 << 18)
