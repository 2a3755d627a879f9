"""ARPA files: kenlm and a reader of these tests' own find the table's probabilities in what is written, which comes
back to the bit; names of tokens are a bijection.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.counts.kneser_ney import count_text
from charlm.counts.names import arpa_names, escaped, token_bytes, unescaped
from charlm.counts.table import Counts
from charlm.errors import DataError
from charlm.text.tokenizers import EOS, ByteTokenizer, CharTokenizer, WordTokenizer
from tests.arpa_files import (
    KINDS,
    Plain,
    by_counts,
    of_kind,
    read,
    table_of_kind,
    texts_of,
    written,
)

all_kinds = pytest.mark.parametrize("kind", KINDS)

LEAST = np.finfo(np.float32).tiny  # of back-off weights


# Names


@given(st.binary(max_size=12))
def test_a_name_can_be_spelled_and_has_one_token(token):
    name = escaped(token)
    assert unescaped(name.encode()) == token
    assert name.split() == [name]
    assert name.encode().split() == [name.encode()]
    assert name.lower() not in ("<s>", "</s>", "<unk>")


def test_characters_have_names_of_their_own():
    """All of the basic plane, halves of characters too, and some of those beyond."""
    every = list(map(chr, [*range(0x10000), *range(0x10000, 0x110000, 97)]))
    names = [escaped(character.encode("utf-8", "surrogatepass")) for character in every]
    assert len(set(names)) == len(names)
    assert "".join(names).split() == ["".join(names)]
    back = [unescaped(name.encode()).decode("utf-8", "surrogatepass") for name in names]
    assert back == every


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("a", "a"),
        (" ", r"\x20"),
        ("\n", r"\x0a"),
        ("\\", r"\x5c"),
        ("é", "é"),
        ("\u3000", r"\xe3\x80\x80"),
        ("\ufeff", r"\xef\xbb\xbf"),
        ("<s>", r"\x3cs>"),
        ("</S>", r"\x3c/S>"),
        ("<UNK>", r"\x3cUNK>"),
        ("<unk", "<unk"),
        ("", r"\e"),
    ],
)
def test_names_are_as_documented(token, name):
    assert escaped(token.encode()) == name


def test_names_of_bytes_are_hex_where_they_are_no_ascii():
    names = arpa_names(ByteTokenizer())
    assert names[:3] == ["</s>", "<unk>", r"\x00"]
    assert [names[2 + value] for value in (0x20, 0x41, 0x5C, 0x7F, 0xE9)] == [
        r"\x20",
        "A",
        r"\x5c",
        r"\x7f",
        r"\xe9",
    ]
    assert len(set(names)) == 258


def test_halves_of_characters_and_bytes_are_told_apart():
    tokenizer = WordTokenizer(["\udce9", "é", "\ud800"])
    assert len(set(token_bytes(tokenizer)[2:])) == 3
    assert arpa_names(tokenizer)[2:] == [r"\xed\xb3\xa9", "é", r"\xed\xa0\x80"]


# What is written


@pytest.fixture
def kenlm():
    return pytest.importorskip("kenlm")


@all_kinds
@pytest.mark.parametrize("order", range(1, 7))
def test_kenlm_finds_the_same_probabilities(kind, order, kenlm, tmp_path):
    tokenizer, _, counts = table_of_kind(kind, order)
    path, names = tmp_path / "counts.arpa", arpa_names(tokenizer)
    path.write_bytes(written(counts, tokenizer))
    config = kenlm.Config()
    config.show_progress = False
    model = kenlm.Model(str(path), config)
    assert all(name in model for name in names if name != "<unk>")
    for text in texts_of(tokenizer.size, seed=1):
        scores = model.full_scores(" ".join(names[token] for token in text), bos=True, eos=True)
        np.testing.assert_allclose(
            [score for score, *_ in scores], by_counts(counts, text), atol=1e-5
        )


@all_kinds
@pytest.mark.parametrize("order", range(1, 11))
def test_another_reader_finds_the_same_probabilities(kind, order):
    tokenizer, _, counts = table_of_kind(kind, order)
    plain, names = Plain(written(counts, tokenizer)), arpa_names(tokenizer)
    for text in texts_of(tokenizer.size, seed=1):
        expected = by_counts(counts, text)
        np.testing.assert_allclose(
            plain.text([names[token] for token in text]), expected, atol=1e-6
        )


class Stored:
    """Ids of texts, each ended by EOS, as a corpus has them."""

    def __init__(self, texts):
        self.ids = np.array([token for text in texts for token in (*text, EOS)], np.int32)

    def __len__(self):
        return len(self.ids)

    def read(self, start, count):
        return self.ids[start : start + count]


@all_kinds
@pytest.mark.parametrize("most", [100, 100_000])
def test_counts_of_a_text_are_written_and_read_to_the_bit(kind, most, tmp_path):
    """Smoothed as models have them, pruned and whole."""
    tokenizer, begin = of_kind(kind)
    counts = count_text(Stored(texts_of(tokenizer.size, count=300)), tokenizer.size, 8, begin, most)
    data = written(counts, tokenizer)
    plain, names = Plain(data), arpa_names(tokenizer)
    for text in texts_of(tokenizer.size, seed=1):
        expected = by_counts(counts, text)
        np.testing.assert_allclose(
            plain.text([names[token] for token in text]), expected, atol=1e-6
        )
    again = read(data, tokenizer, begin, tmp_path)
    assert all(
        np.array_equal(again.tensors()[name], value) for name, value in counts.tensors().items()
    )


@all_kinds
@pytest.mark.parametrize("order", [1, 2, 3, 10])
def test_what_was_written_is_read_to_the_bit(kind, order, tmp_path):
    tokenizer, begin, counts = table_of_kind(kind, order)
    again = read(written(counts, tokenizer), tokenizer, begin, tmp_path)
    assert again.facts() == counts.facts()
    for name, array in counts.tensors().items():
        assert again.tensors()[name].dtype == array.dtype
        assert np.array_equal(again.tensors()[name], array)


@pytest.mark.parametrize(
    "value", [1.0, np.nextafter(np.float32(1), np.float32(0)), 1e-30, 1.2e-38, 0.1, 1 / 3]
)
def test_numbers_keep_their_bits(value, tmp_path):
    """A p of any size, which leaves the rest of the probability to others; and the least back-off weight."""
    tokenizer = CharTokenizer(["a", "b"])
    p = np.array([1e-6, 1e-6, 0.5, 0.5, value], np.float32)
    left = max((1 - np.float64(p[4])) / (1 - np.float64(p[2])), LEAST)
    counts = Counts(
        2, 4, None, np.array([0, 1, 2, 3, 2], np.uint8), p, np.array([4, 0, 0, 1, 0], np.uint8),
        np.array([1, 1, 1, left, 1], np.float32),
    )  # fmt: skip
    again = read(written(counts, tokenizer), tokenizer, None, tmp_path)
    assert np.array_equal(again.p, p)
    assert np.array_equal(again.backoff, counts.backoff)


def test_an_order_without_ngrams_is_written_and_left_out_in_reading(tmp_path):
    tokenizer = CharTokenizer(["a", "b"])
    p, ones = np.full(4, 0.25, np.float32), np.ones(5, np.float32)
    counts = Counts(
        3, 4, None, np.arange(4, dtype=np.uint8), p, np.array([4, 0, 0, 0, 0], np.uint8), ones
    )
    data = written(counts, tokenizer)
    assert b"ngram 1=5\nngram 2=0\nngram 3=0\n" in data
    again = read(data, tokenizer, None, tmp_path)
    assert again.order == 1
    assert np.array_equal(again.p, p)


def test_a_p_that_rounding_has_put_above_1_is_written_as_1():
    """Kenlm refuses a file in which the logarithm of one is positive."""
    p = np.array([1e-5, 1e-5, 0.5, 0.5, 1 + 5e-5], np.float32)
    weights = np.array([1, 1, 1, LEAST, 1], np.float32)
    counts = Counts(
        2,
        4,
        None,
        np.array([0, 1, 2, 3, 2], np.uint8),
        p,
        np.array([4, 0, 0, 1, 0], np.uint8),
        weights,
    )
    assert Plain(written(counts, CharTokenizer(["a", "b"]))).grams["a", "a"] == (0, 0)


def test_a_table_that_goes_on_after_an_end_is_refused():
    tokenizer = CharTokenizer(["a"])
    p, weights = np.array([0.25, 0.25, 0.5, 1], np.float32), np.array([1, LEAST, 1, 1], np.float32)
    counts = Counts(
        2, 3, None, np.array([0, 1, 2, 2], np.uint8), p, np.array([3, 1, 0, 0], np.uint8), weights
    )
    with pytest.raises(DataError, match="go on after a text's end"):
        written(counts, tokenizer)
