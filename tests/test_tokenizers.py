"""Tokenizers: round trips, what a word is, unknown tokens, and vocabularies from a file that may be damaged."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import DataError, UsageError
from charlm.text.tokenizers import (
    EOS,
    UNK,
    ByteTokenizer,
    CharTokenizer,
    WordTokenizer,
    find_words,
    tokenizer_from_dict,
    word_regex,
)

LETTERS = CharTokenizer(list("abc \n"))


def words(text: str, pattern: str | None = None, punctuation: bool = True, lowercase: bool = False) -> list[str]:
    return find_words(word_regex(pattern, punctuation), text, lowercase)


# Characters and bytes


@settings(deadline=None)
@given(st.text(st.characters()))  # lone surrogates too
def test_characters_come_back_as_they_were(text):
    tokenizer = CharTokenizer(sorted(set(text)))
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert UNK not in ids
    assert tokenizer.decode(ids) == text


@settings(deadline=None)
@given(st.binary())
def test_a_byte_has_its_value_plus_two_as_id(data):
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(data)
    assert ids.tolist() == [2 + value for value in data]
    assert tokenizer.decode(ids) == data.decode("utf-8", "surrogateescape")
    np.testing.assert_array_equal(tokenizer.encode(tokenizer.decode(ids)), ids)


@settings(deadline=None)
@given(st.text())
def test_text_comes_back_from_bytes(text):
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text


def test_bytes_of_a_command_line_argument_that_is_not_utf8():
    argument = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert ByteTokenizer().encode(argument).tolist() == [2 + value for value in b"caf\xe9"]
    assert ByteTokenizer().decode(ByteTokenizer().encode(argument)) == argument
    assert LETTERS.encode(argument).tolist() == [4, 2, UNK, UNK]


def test_unknown_characters_are_unk_and_specials_are_not_text():
    tokenizer = CharTokenizer(list("<eosunk>"))
    assert EOS not in tokenizer.encode("<eos>")
    assert UNK not in tokenizer.encode("<unk>")
    assert tokenizer.encode("e?").tolist() == [3, UNK]
    assert tokenizer.decode([3, EOS, UNK, 3]) == "e<unk>e"


def test_bytes_given_to_characters_are_utf8():
    assert LETTERS.encode(b"abc").tolist() == [2, 3, 4]
    with pytest.raises(DataError, match=r"byte 2 of the text is not valid utf-8"):
        LETTERS.encode(b"ab\xff")


@pytest.mark.parametrize(
    "tokenizer",
    [LETTERS, CharTokenizer(list("abc ")), ByteTokenizer(), WordTokenizer(["a", "b", "\n"]), WordTokenizer(["a", "b"])],
    ids=["char", "char-without-newline", "byte", "word", "word-without-newline"],
)
def test_the_newline_of_a_line_becomes_eos(tokenizer):
    a, b = tokenizer.encode("a")[0], tokenizer.encode("b")[0]
    assert tokenizer.encode_lines("a\nb\n").tolist() == [a, EOS, b, EOS]
    assert EOS not in tokenizer.encode("a\nb\n")


@pytest.mark.parametrize(
    ("tokenizer", "text", "pieces"),
    [
        (LETTERS, "aé\n", ["a", "é", "\n"]),
        (CharTokenizer(["i"], lowercase=True), "Iİ", ["i", "i", "\u0307"]),
        (ByteTokenizer(), "aé\n", ["a", "\\xc3", "\\xa9", "\\x0a"]),
        (WordTokenizer(["a"]), "a bc,\n<unk>", ["a", "bc", ",", "<unk>"]),
        (WordTokenizer(["a", "\n"], lowercase=True), "A bc\n", ["a", "bc", "\n"]),
    ],
    ids=["char", "char-lowercase", "byte", "word", "word-with-newline"],
)
def test_every_id_has_its_piece_of_the_text(tokenizer, text, pieces):
    assert tokenizer.pieces(text) == pieces
    assert len(tokenizer.encode(text)) == len(pieces)


def test_lowercase_does_not_depend_on_where_a_text_is_cut():
    tokenizer = CharTokenizer(list("σςαi\u0307"), lowercase=True)
    assert tokenizer.decode(tokenizer.encode("ΑΣ")) == "ασ"
    assert tokenizer.decode(tokenizer.encode("İ")) == "i\u0307"
    assert words("ΑΣ Σα", lowercase=True) == ["ας", "σα"]


@pytest.mark.parametrize(
    ("value", "shown"), [(ord("a"), "a"), (ord(" "), " "), (10, "\\x0a"), (0, "\\x00"), (0xE9, "\\xe9")]
)
def test_how_a_byte_is_shown(value, shown):
    assert ByteTokenizer().token(2 + value) == shown


def test_how_specials_are_shown():
    for tokenizer in (LETTERS, ByteTokenizer(), WordTokenizer(["a"])):
        assert (tokenizer.token(EOS), tokenizer.token(UNK)) == ("<eos>", "<unk>")
    assert LETTERS.token(2) == WordTokenizer(["a"]).token(2) == "a"


def test_a_character_shows_when_its_last_byte_is_fed():
    decoder = ByteTokenizer().decoder()
    assert [decoder.feed(2 + value) for value in "é!".encode()] == ["", "é", "!"]
    assert [decoder.feed(2 + 0xE2), decoder.feed(UNK), decoder.feed(EOS), decoder.feed(2 + 0xE2)] == [
        "",
        "\udce2<unk>",
        "",
        "",
    ]
    assert decoder.finish() == "\udce2"


# Words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, it’s well-known.", ["Don't", "stop", ",", "it’s", "well-known", "."]),
        ("'tis the dogs' bone--", ["'", "tis", "the", "dogs", "'", "bone", "-", "-"]),
        ("_so_ 3.14 x² №5", ["_", "so", "_", "3", ".", "14", "x²", "№", "5"]),
        ("আমি বাংলায় গান গাই।", ["আমি", "বাংলায়", "গান", "গাই", "।"]),
        ("मैं हिन्दी में लिखता हूँ।", ["मैं", "हिन्दी", "में", "लिखता", "हूँ", "।"]),
        ("র‍্যাব ক্‌ষ", ["র‍্যাব", "ক্‌ষ"]),
        ("cafe\u0301 x", ["cafe\u0301", "x"]),
        ("👩‍💻 ❤️!👍🏽", ["👩‍💻", "❤️", "!", "👍🏽"]),
        ("我爱你。好", ["我爱你", "。", "好"]),
        ("a <unk>, <eos>", ["a", "<unk>", ",", "<", "eos", ">"]),
        ("a\n\nb", ["a", "\n", "\n", "b"]),
        ("a\u2028b\x0bc\u00a0d", ["a", "b", "c", "d"]),
    ],
    ids=[
        "english",
        "outer-apostrophes",
        "numbers",
        "bengali",
        "hindi",
        "joiners",
        "combining",
        "emoji",
        "chinese",
        "unk",
        "newline",
        "spaces",
    ],
)
def test_what_a_word_is(text, expected):
    assert words(text) == expected


@settings(deadline=None)
@given(st.text())
def test_the_default_pattern_loses_nothing_but_white_space(text):
    assert "".join("".join(words(text)).split()) == "".join(text.split())


def test_no_punctuation_keeps_words_and_unk():
    assert words("“Well-known,” <unk> said... 5%", punctuation=False) == ["Well-known", "<unk>", "said", "5"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"\S+", ["it's", "a,", "<unk>", "b"]),
        (r"(\w)(\w*)", ["it", "s", "a", "<unk>", "b"]),
        (r"\w+|\S", ["it", "'", "s", "a", ",", "<unk>", "b"]),
    ],
    ids=["split-text", "groups", "alternatives"],
)
def test_a_pattern_of_ones_own(pattern, expected):
    assert words("it's a, <unk> b", pattern) == expected


def test_line_anchors_are_those_of_a_line():
    assert words("one two\nthree four", r"^\w+") == ["one", "\n", "three"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", r"is no regular expression: missing \), unterminated subpattern at position 0"),
        ("a{99999999999}", "is no regular expression: the repetition number is too large"),
        (r"(?i)\w+", "is no regular expression: global flags not at the start"),
        ("", "can match the empty string"),
        (r"\w*", "can match the empty string"),
        (r"\b", "can match the empty string"),
        (r"(?=b)|\w+", "can match the empty string"),
    ],
)
def test_patterns_that_cannot_be_used(pattern, message):
    with pytest.raises(UsageError, match=message):
        WordTokenizer(["a"], word_pattern=pattern)


@pytest.mark.parametrize(
    ("tokenizer", "lossless"),
    [
        (LETTERS, True),
        (CharTokenizer(["a"], lowercase=True), False),
        (ByteTokenizer(), True),
        (WordTokenizer(["a"]), True),
        (WordTokenizer(["a"], lowercase=True), False),
        (WordTokenizer(["a"], punctuation=False), False),
        (WordTokenizer(["a"], word_pattern=r"\S+"), True),
        (WordTokenizer(["a"], word_pattern=r"\w+|[^\w\s]"), True),
        (WordTokenizer(["a"], word_pattern=r"\w+"), False),
        (WordTokenizer(["a"], word_pattern=r"[a-zA-Z]+|[^\sa-zA-Z]+?"), True),
        (WordTokenizer(["a"], word_pattern=r"[ -~]"), False),
    ],
)
def test_lossless_says_whether_only_white_space_can_be_lost(tokenizer, lossless):
    assert tokenizer.lossless is lossless


@pytest.mark.parametrize(
    "text",
    [
        'He said: "Well (no), it\'s 5% [really]!"',
        "“So?” she asked; ‘why not’…",
        "one -- two - three\nfour.",
        "\n\nA line,\n  and another",
        "আমি গান গাই। <unk>, তুমি?",
        "«Quoi», ¿qué?",
    ],
)
def test_decoded_words_read_as_they_were_written(text):
    found = list(dict.fromkeys(word for word in words(text) if word != "<unk>"))
    tokenizer = WordTokenizer(found)
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("\n  ", "\n")


@settings(deadline=None)
@given(st.lists(st.integers(1, 40)))
def test_decoded_words_encode_to_the_same_ids(ids):
    tokenizer = WordTokenizer([*"abc,.;:!?()[]{}\"'-“”‘’…%$*=/#_~।«»—", "it's", "\n", "well-known", "আমি"])
    assert tokenizer.size == 41
    assert tokenizer.encode(tokenizer.decode(ids)).tolist() == ids


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", ",", "n't", "(b", "<unk>"])))
def test_text_that_is_split_already_stays_split(tokens):
    tokenizer = WordTokenizer(["a", ",", "n't", "(b"], word_pattern=r"\S+")
    text = " ".join(tokens)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_word_shows_as_it_is_fed():
    decoder = WordTokenizer(["a", ",", "(", "\n", "it"]).decoder()
    shown = [decoder.feed(i) for i in (2, 3, 4, 6, UNK, EOS, 5, 2, EOS, 3)]
    assert shown == ["a", ",", " (", "it", " <unk>", "", "\n", "a", "", ","]
    assert decoder.finish() == ""


def test_unknown_words_are_unk_and_a_newline_outside_the_vocabulary_is_white_space():
    tokenizer = WordTokenizer(["a", "b"])
    assert tokenizer.encode("a x\n<unk> b").tolist() == [2, UNK, UNK, 3]
    assert tokenizer.newline is None
    assert WordTokenizer(["a", "\n"]).newline == 3


# In a model file


@pytest.mark.parametrize(
    "tokenizer",
    [
        CharTokenizer(["e", "\n", "\ud800", "😀"], lowercase=True),
        ByteTokenizer(),
        WordTokenizer(["the", "\n", ","], lowercase=True, punctuation=False),
        WordTokenizer(["the", "a,"], word_pattern=r"\S+"),
    ],
    ids=["char", "byte", "word", "word-pattern"],
)
def test_a_vocabulary_survives_json(tokenizer):
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert type(again) is type(tokenizer)
    assert again.to_dict() == tokenizer.to_dict()
    assert (again.size, again.newline, again.lossless) == (tokenizer.size, tokenizer.newline, tokenizer.lossless)
    text = "The e\n a, 😀"
    assert np.array_equal(again.encode(text), tokenizer.encode(text))


CHAR = {"tokenizer": "char", "lowercase": False, "tokens": ["a", "b"]}
WORD = {"tokenizer": "word", "lowercase": False, "punctuation": True, "word_pattern": None, "tokens": ["a", "b"]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "unknown kind None"),
        (CHAR | {"tokenizer": "bpe"}, "unknown kind 'bpe'"),
        (CHAR | {"tokenizer": ["char"]}, r"unknown kind \['char'\]"),
        (CHAR | {"extra": 1}, r"has the fields \['extra', 'lowercase', 'tokens'\]"),
        ({"tokenizer": "char", "tokens": ["a"]}, r"it should have \['lowercase', 'tokens'\]"),
        ({"tokenizer": "byte", "tokens": []}, r"it should have \[\]"),
        (CHAR | {"lowercase": 1}, "lowercase cannot be 1"),
        (CHAR | {"tokens": "ab"}, "tokens cannot be 'ab'"),
        (CHAR | {"tokens": ["a", 1]}, "1, id 3, is no char"),
        (CHAR | {"tokens": ["ab"]}, "'ab', id 2, is no char"),
        (CHAR | {"tokens": ["a", "b", "a"]}, "'a' stands in it twice"),
        (WORD | {"tokens": ["a", ""]}, "'', id 3, is no word"),
        (WORD | {"tokens": ["<unk>"]}, "<unk> stands among the words"),
        (WORD | {"word_pattern": 1}, "word_pattern cannot be 1"),
        (WORD | {"word_pattern": "a*"}, "can match the empty string"),
        (WORD | {"word_pattern": "["}, "is no regular expression"),
    ],
)
def test_a_damaged_vocabulary_is_refused(values, message):
    with pytest.raises(DataError, match=message):
        tokenizer_from_dict(values)


@pytest.mark.parametrize("punctuation", [True, False])
def test_no_group_of_the_default_pattern_is_possessive(punctuation):
    """Before Python 3.11.5 such groups match wrongly: no word was found at all."""
    assert not re.search(r"[)][*+?][+]", word_regex(None, punctuation).pattern)
