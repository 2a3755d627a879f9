"""Where tokens stand in a text, and the parts that part no token and no grapheme cluster."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.text.graphemes import ends as cluster_ends
from charlm.text.spans import spans_of, units_of, utf8_lengths
from charlm.text.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer

TOKENIZERS = {
    "char": CharTokenizer(list("abc")),
    "char, lowercase": CharTokenizer(list("abc"), lowercase=True),
    "byte": ByteTokenizer(),
    "word": WordTokenizer(["a"]),
    "word, lowercase": WordTokenizer(["a"], lowercase=True),
    "word, newline": WordTokenizer(["a", "\n"]),
    "word, no punctuation": WordTokenizer(["a"], punctuation=False),
    "word, pattern": WordTokenizer(["a"], word_pattern="[a-z]+|."),
}
all_tokenizers = pytest.mark.parametrize("name", TOKENIZERS)
texts = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]), st.sampled_from("aB \n\u0301\u094dकİΣς👩\u200d")
    )
)


@all_tokenizers
@given(text=texts)
def test_spans_are_where_the_tokens_stand(name, text):
    """What stands there in the text is, in small letters where the tokenizer has these, the
    token."""
    tokenizer = TOKENIZERS[name]
    spans, pieces = spans_of(tokenizer, text), tokenizer.pieces(text)
    assert len(spans.starts) == len(spans.ends) == len(tokenizer.encode(text)) == len(pieces)
    assert (spans.starts < spans.ends).all()
    assert (np.diff(spans.starts) >= 0).all()
    found = [text[a:b] for a, b in zip(spans.starts.tolist(), spans.ends.tolist(), strict=True)]
    if name == "byte":
        bounds = [0, *utf8_lengths(text).cumsum().tolist()]
        assert spans.starts.tolist() == [
            k for k, (a, b) in enumerate(pairwise(bounds)) for _ in range(a, b)
        ]
        assert bounds[-1] == len(text.encode())
    elif "lowercase" in name:  # a character may have become two, of which a token has one
        assert all(piece in part.lower().replace("ς", "σ") or piece in part.lower()
                   for piece, part in zip(pieces, found, strict=True))  # fmt: skip
    else:
        if name == "word, pattern":  # where no newline is a token, each is read as a space
            found = [part.replace("\n", " ") for part in found]
        assert found == pieces


@all_tokenizers
@given(text=texts)
def test_parts_part_neither_tokens_nor_clusters(name, text):
    """They are the finest that do so, but for what no token covers."""
    spans = [spans_of(TOKENIZERS[name], text), spans_of(TOKENIZERS["word"], text)]
    ends = set(units_of(text, spans).tolist())
    clusters = set(cluster_ends(text).tolist())
    inside = {
        place
        for each in spans
        for a, b in zip(each.starts.tolist(), each.ends.tolist(), strict=True)
        for place in range(a + 1, b)
    }
    covered = {
        place
        for each in spans
        for a, b in zip(each.starts.tolist(), each.ends.tolist(), strict=True)
        for place in range(a, b)
    }
    beside = {end for end in clusters if {end - 1, end} & covered or end == len(text)}
    assert ends == (clusters - inside) & beside


def test_a_part_is_a_cluster_a_word_or_what_is_between_them():
    text = "Stra\u0301ße, ক্ষুধা  \n"
    parts = {
        name: [text[a:b] for a, b in pairwise([0, *units_of(text, [spans_of(TOKENIZERS[name], text)]).tolist()])]
        for name in ("char", "byte", "word")
    }  # fmt: skip
    assert (
        parts["char"]
        == parts["byte"]
        == [*"Str", "a\u0301", "ß", "e", ",", " ", "ক্ষু", "ধা", " ", " ", "\n"]
    )
    assert parts["word"] == ["Stra\u0301ße", ",", " ", "ক্ষুধা", "  \n"]


def test_lengths_in_utf8_at_the_bounds_of_each():
    text = "\x7f\x80\u07ff\u0800\uffff\U00010000\udc80\udcff\ud800"
    assert utf8_lengths(text).tolist() == [1, 2, 2, 3, 3, 4, 1, 1, 3]
