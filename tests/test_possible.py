"""What a vocabulary can write: said to be impossible is only what never comes, by trying all texts of tiny models."""

import itertools
import re

import pytest

from charlm.errors import UsageError
from charlm.sampling import SamplingConfig
from charlm.text import sequences
from charlm.text.possible import Possible
from charlm.text.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer
from tests.tiny import tiny_model

WORDS = ["the", "cat", "don't", ",", '"', "(", ")", "-"]
LINE = Possible(CharTokenizer(list("abc ")), sequences.LINE)
DOCUMENT = Possible(CharTokenizer(list("abc \n")), sequences.DOCUMENT)
BYTES = Possible(ByteTokenizer(), sequences.LINE)


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("word_pattern", [None, r"\S+"])
def test_words_are_judged_as_the_decoder_spaces_them(word_pattern, begins):
    """Every string of up to six characters that is cut from a text of up to three words is possible."""
    tokenizer = WordTokenizer(WORDS, word_pattern=word_pattern)
    possible = Possible(tokenizer, sequences.LINE)
    ids = range(2, tokenizer.size)
    texts = {tokenizer.decode(some) for n in (1, 2, 3) for some in itertools.product(ids, repeat=n)}
    written = {text[i:j] for text in texts for i in ([0] if begins else range(len(text))) for j in range(i + 1, i + 7)}
    assert len(written) > 300
    assert not [text for text in sorted(written) if possible.why_not(text, begins=begins)]


@pytest.mark.parametrize(("text", "reason"), [
    ("cat ,", "spaces its words otherwise, as 'cat,'"),
    ("the  cat", "spaces its words otherwise, as 'the cat'"),
    ("( the", "otherwise, as '(the'"),
    ("the dog sat", "no text of the model has 'dog', 'sat'"),
    ("thecat", "no text of the model has 'thecat'"),
    ("The", "no text of the model has 'The'"),
    ("the\ncat", "single lines"),
])  # fmt: skip
def test_words_that_cannot_come_are_named(text, reason):
    assert reason in Possible(WordTokenizer(WORDS), sequences.LINE).why_not(text)


def test_a_model_that_lowers_says_so():
    for tokenizer in (CharTokenizer(list("anb "), lowercase=True), WordTokenizer(["anna", "b"], lowercase=True)):
        possible = Possible(tokenizer, sequences.LINE)
        assert possible.why_not("Anna b") == "the model writes lower case only, as 'anna b'"
        assert not possible.why_not("anna b")
        assert "X" in possible.why_not("Xyz")


def test_characters_that_cannot_come_are_named():
    assert LINE.why_not("aЖbЩ") == "the model does not know 'Ж', 'Щ'"
    assert not LINE.why_not("cab")
    assert "single lines" in LINE.why_not("a\nb")
    assert not DOCUMENT.why_not("a\nb")
    assert "single lines" in BYTES.why_not("a\nb")
    assert not BYTES.why_not("Ж\udce9")
    assert not Possible(CharTokenizer(list("ab")), sequences.LINE, unknown=True).why_not("a<unk>")


def test_what_is_wanted_may_begin_in_the_prompt():
    assert not LINE.why_not("Жab", before="aЖ")
    assert not LINE.why_not("Ж", before="aЖb")
    assert LINE.why_not("Жab", before="Жb")
    words = Possible(WordTokenizer(WORDS), sequences.LINE)
    assert not words.why_not("dog the", before="a dog")
    assert words.why_not("dog the", before="a dog sat")


PATTERNS = [
    "Ж.*", ".*(?:Ж|Щ).*", "[ЖЩ]a", "[^abc ]", "(?i)z", r"a\d", "(Ж)+a", "(?>Ж)", "a{2}Ж++", "a\nb", "(?P<n>xa)(?P=n)?",
    "a(?=Ж).*", ".*(?<=Ж)",
]  # fmt: skip
MATCHED = [
    "a.*", ".*(Ж|a)", "Ж?a", "Ж*a", "(Жa)*b", "[Жa]", "[^Ж]", "(?i)AB", "a(?i:B)", r"\w", "(?!Ж)a", "(?<!Ж)a", "(?=a)a",
    "Ж{0,3}b", "(?:xb|a)+", r"(a)\1", "^a$", r"\bab\b", "",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_that_cannot_match_are_known(pattern):
    assert LINE.why_no_match(pattern)


@pytest.mark.parametrize("pattern", MATCHED)
def test_patterns_that_can_match_are_not_refused(pattern):
    assert not LINE.why_no_match(pattern)
    texts = ("".join(some) for n in range(4) for some in itertools.product("abc ", repeat=n))
    assert any(re.fullmatch(pattern, text, re.DOTALL) for text in texts), "else the test says nothing"


def test_a_pattern_may_match_in_the_prompt_and_any_byte():
    assert not LINE.why_no_match("Ж.*", before="Ж")
    assert not LINE.why_no_match("[Ж]a", before="Ж")
    assert not BYTES.why_no_match(r"Ж\d")
    words = Possible(WordTokenizer(WORDS), sequences.LINE)
    assert "no text of the model has 'dog'" in words.why_no_match("the dog.*")
    assert not words.why_no_match("the cat.*")


@pytest.mark.parametrize("settings", [{"stop": "Ж"}, {"starts_with": "aЖ"}, {"stop": "a\n"}, {"starts_with": "a\n"}])
def test_a_writer_refuses_what_cannot_come_before_it_draws(settings):
    model = tiny_model("abc")
    for write in (
        lambda: model.stream(**settings),
        lambda: model.samples(2, SamplingConfig(**settings)),
        lambda: model.matching(1, bool, SamplingConfig(**settings)),
        lambda: model.beam(2, **settings),
    ):
        with pytest.raises(UsageError, match=r"Ж|single lines"):
            write()


def test_a_start_that_the_end_cuts_off_is_refused():
    model = tiny_model("abc\n", sequences="document")
    with pytest.raises(UsageError, match="starts-with 'ab' goes beyond where stop or lines end the text"):
        model.sample(starts_with="ab", stop="b")
    with pytest.raises(UsageError, match="goes beyond"):
        model.sample(starts_with="a\nb", lines=1)
    words = tiny_model(["them", "those", "a"], words=True, spread=0.3)
    for start in ("them", "the", "a the"):
        with pytest.raises(UsageError, match="goes beyond"):
            words.sample(starts_with=start, stop="the")
    for seed in range(20):
        assert "ab" not in model.sample(30, starts_with="ca", stop="ab", seed=seed)


def test_a_word_may_be_broken_off_inside_its_apostrophe():
    model = tiny_model(["don't", "done", "'"], words=True, spread=0.3)
    assert {model.sample(1, seed=seed, starts_with="don'") for seed in range(20)} == {"don't"}
    assert {model.sample(1, seed=seed, starts_with="done don") for seed in range(20)} == {"done don't", "done done"}
    quoted = tiny_model(["don't", "done", '"', "t"], words=True, spread=0.3)
    assert {quoted.sample(1, seed=seed, starts_with="\"don'") for seed in range(20)} == {"\"don't"}


def test_a_start_of_words_is_what_the_text_starts_with():
    """A space at the front is the decoder's, after a prompt alone; a line may end there; `<unk>` is a word if kept."""
    model = tiny_model(["cat", "car", "the", "\n"], "document", words=True, spread=0.3)
    for start in (" ", " ca", " the cat"):
        with pytest.raises(UsageError, match="spaces between words alone"):
            model.sample(starts_with=start)
    for start, prompt in (
        ("\nca", ""), ("\n", ""), ("the\nca", ""), (" ca", "the"), (" the ca", "cat"), ("\nca", "the"),
    ):  # fmt: skip
        for sample in model.samples(20, SamplingConfig(3, starts_with=start), prompt, seed=1):
            assert sample.text.startswith(prompt + start), (start, sample.text)
    for start in ("<u", "the <unk>", "<unk> ca"):
        for sample in model.samples(20, SamplingConfig(3, starts_with=start, unk="keep"), seed=1):
            assert sample.text.startswith(start), (start, sample.text)
        with pytest.raises(UsageError, match="no text of the model has"):
            model.sample(starts_with=start)


def test_what_no_text_of_words_has_is_refused():
    """Every string of up to four characters, against all texts of up to five words: nearly all that never come."""
    tokenizer = WordTokenizer(["a", "bb", ",", "("])
    possible = Possible(tokenizer, sequences.LINE)
    texts = "\n".join(tokenizer.decode(some) for some in itertools.product(range(2, tokenizer.size), repeat=5))
    strings = ["".join(some) for n in range(1, 5) for some in itertools.product("ab ,(", repeat=n)]
    refused = {text for text in strings if possible.why_not(text)}
    absent = {text for text in strings if text not in texts}
    assert refused <= absent
    assert len(refused) > 0.9 * len(absent) > 400
