"""ARPA files of other programs, incomplete, of another vocabulary, damaged: a table with the file's probabilities, or
one line that says what is wrong and where.
"""

import bz2
import contextlib
import gzip
import lzma
import math
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm.counts import arpa_reader, assembly
from charlm.counts.names import arpa_names
from charlm.errors import DataError
from charlm.text.tokenizers import EOS, UNK, ByteTokenizer, CharTokenizer, WordTokenizer
from tests.arpa_files import Plain, by_counts, read, table_of_kind, texts_of, written

AB = CharTokenizer(["a", "b"])
LMPLZ = r"""
\data\
ngram 1=5
ngram 2=3
ngram 3=1

\1-grams:
-1	<unk>	0
0	<s>	-0.07918125
-0.69897	</s>	0
-0.39794	a	-0.243038
-0.5228787	b	0

\2-grams:
-0.30103	<s> a	-0.60206
-0.2218487	a b	0
-0.69897	a </s>	0

\3-grams:
-0.04575749	<s> a b

\end\
"""
LMPLZ = LMPLZ.replace(
    "-0.243038", f"{math.log10(0.2 / 0.5):.7g}"
)  # what is left of 1 after a, over what a shares


def names_of(tokenizer, text):
    names = arpa_names(tokenizer)
    return [names[token] for token in text]


def agrees(counts, data, tokenizer, within=2e-6):
    """Check a table against what the tests' own reader finds in a file."""
    plain = Plain(data)
    for text in texts_of(tokenizer.size, seed=2):
        found = plain.text(names_of(tokenizer, text))
        np.testing.assert_allclose(by_counts(counts, text), found, atol=within)


def test_what_lmplz_writes(tmp_path):
    counts = read(LMPLZ, AB, EOS, tmp_path)
    assert counts.ngrams() == [4, 3, 1]
    assert counts.facts() == {"order": 3, "begin": EOS}
    agrees(counts, LMPLZ.encode(), AB)
    assert 10 ** by_counts(counts, [2, 3]) == pytest.approx([0.5, 0.9, 0.2])
    assert 10 ** by_counts(counts, [2, 2]) == pytest.approx([0.5, 0.25 * 0.4 * 0.4, 0.2], rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "made by somebody\n" + text,
        lambda text: "\ufeff" + text.lstrip(),
        lambda text: text.replace("\t", " ").replace(" 0\n", "\n"),
        lambda text: text.replace("<unk>", "<UNK>").replace("=", " = "),
        lambda text: text.replace("0\t<s>", "-99\t<s>"),
        lambda text: text + "\\more\\\n1 2 3\n",
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n\n", "\n").replace("ngram 3", "\n\n\nngram 3"),
        lambda text: text.replace("ngram 3=1", "ngram 3=1\nngram 4=0").replace("\\end", "\\4-grams:\n\\end"),
    ],
    ids=["CRLF", "comment", "mark", "spaces, no back-offs", "UNK", "-99", "after the end", "no newline at the end",
         "blank lines", "an empty order"],
)  # fmt: skip
def test_spellings_of_other_programs(change, tmp_path):
    data = change(LMPLZ)
    assert data != LMPLZ
    counts, expected = read(data, AB, EOS, tmp_path), read(LMPLZ, AB, EOS, tmp_path)
    for name, value in expected.tensors().items():
        assert np.array_equal(counts.tensors()[name], value)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_read(pack, tmp_path):
    assert read(pack(LMPLZ.encode()), AB, EOS, tmp_path).ngrams() == [4, 3, 1]


def test_tokens_may_be_named_plainly(tmp_path):
    """As somebody would write them who knows nothing of escapes; where a name is both, the escape holds."""
    words = WordTokenizer(["\\", "C:\\n", "\\x41", "A"])
    last = f"{math.log10(1 - 10**-0.5 - 0.4):.9g}"
    escaped = [
        "-0.5 <unk>",
        "-99 <s>",
        "-1 </s>",
        r"-1 \x5c",
        r"-1 C:\x5cn",
        r"-1 \x5cx41",
        f"{last} A",
    ]
    text = "\\data\\\nngram 1=7\n\\1-grams:\n{}\n\\end\\\n"
    expected = read(text.format("\n".join(escaped)), words, EOS, tmp_path)
    plain = [line.replace(r"\x5c", "\\") if "x41" not in line else line for line in escaped]
    assert np.array_equal(read(text.format("\n".join(plain)), words, EOS, tmp_path).p, expected.p)
    twice = text.format("\n".join([*escaped[:5], r"-1 \x41", f"{last} A"]))
    with pytest.raises(DataError, match=r"line 10: A stands in the file twice"):
        read(twice, words, EOS, tmp_path)


def test_a_document_takes_no_beginning_from_a_file(tmp_path):
    counts = read(
        LMPLZ.replace(" b", r" \x0a").replace("\tb", "\t\\x0a"),
        CharTokenizer(["\n", "a"]),
        2,
        tmp_path,
    )
    assert counts.ngrams() == [4, 2]


def test_what_no_text_of_charlms_has_is_left_out(tmp_path):
    data = LMPLZ.replace("2=3", "2=5").replace("3=1", "3=3")
    data = data.replace("\n\n\\3", "\n0\t</s> <s>\n-99\tb <s>\n\n\\3")
    data = data.replace("a b\n\n\\end", "a b\n-2\ta </s> a\n-1\t</s> <s> b\n\n\\end")
    counts = read(data, AB, EOS, tmp_path)
    assert counts.ngrams() == [4, 3, 1]
    agrees(counts, LMPLZ.encode(), AB)


# What a file lacks


def pruned(kind, order, seed):
    """Return an ARPA file in which random n-grams are missing that are no prefixes, its probabilities summing to 1."""
    tokenizer, begin, counts = table_of_kind(kind, order)
    rng = random.Random(seed)
    grams = Plain(written(counts, tokenizer)).grams
    for gram in sorted(grams, key=len, reverse=True):
        prefix = any(len(other) == len(gram) + 1 and other[:-1] == gram for other in grams)
        if len(gram) > 1 and not prefix and rng.random() < 0.5:
            del grams[gram]
    plain = Plain(b"")
    plain.grams, plain.order = grams, order
    for gram in sorted(grams, key=len):
        ends = [other[-1] for other in grams if len(other) == len(gram) + 1 and other[:-1] == gram]
        left = 1 - math.fsum(10 ** grams[(*gram, end)][0] for end in ends)
        shared = 1 - math.fsum(10 ** plain.log10(gram[1:], end) for end in ends)
        all_listed = min(left, shared) < 1e-6
        grams[gram] = grams[gram][0], 0.0 if all_listed else math.log10(left / shared)
    lines = ["\\data\\"]
    by_order = [[gram for gram in grams if len(gram) == k] for k in range(1, order + 1)]
    lines += [f"ngram {k}={len(own)}" for k, own in enumerate(by_order, start=1)]
    for k, own in enumerate(by_order, start=1):
        lines.append(f"\\{k}-grams:")
        rng.shuffle(own)
        lines += [f"{grams[gram][0]:.9g}\t{' '.join(gram)}\t{grams[gram][1]:.9g}" for gram in own]
    return tokenizer, begin, "\n".join([*lines, "\\end\\", ""]).encode()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["char lines", "char documents without a newline", "word lines"])
def test_missing_suffixes_change_no_probability(kind, seed, tmp_path):
    tokenizer, begin, data = pruned(kind, 4, seed)
    counts = read(data, tokenizer, begin, tmp_path)
    listed = Plain(data).grams
    assert sum(counts.ngrams()) > len(listed), "some are put in"
    agrees(counts, data, tokenizer, 1e-5)


def test_missing_prefixes_change_no_probability(tmp_path):
    """The file lists what backing off gives anyway, under a context that it does not list."""
    p = Plain(LMPLZ.encode()).log10(["b", "a"], "b")
    data = LMPLZ.replace("3=1", "3=2").replace("\n\n\\end", f"\n{p:.9g}\tb a b\n\n\\end").encode()
    counts = read(data, AB, EOS, tmp_path)
    assert counts.ngrams() == [4, 4, 2]
    agrees(counts, data, AB)


@pytest.mark.parametrize("absent", ["<unk>", "</s>"])
def test_specials_may_be_absent_and_are_never_then(absent, tmp_path):
    kept = [line for line in LMPLZ.splitlines() if absent not in line]
    data = "\n".join(kept).replace("1=5", "1=4")
    if absent == "</s>":
        data = data.replace("2=3", "2=2")
    # what it had goes to b, so that probabilities still sum to 1
    more = 10**-0.5228787 + 10 ** (-1 if absent == "<unk>" else -0.69897)
    data = data.replace("-0.5228787\tb", f"{math.log10(more):.9g}\tb")
    data = rescaled(data)
    counts = read(data, AB, EOS, tmp_path)
    assert counts.p[{"<unk>": UNK, "</s>": EOS}[absent]] == np.finfo(np.float32).tiny


def rescaled(data):
    """Set the back-off weights of a file anew, from the shorter contexts on."""
    plain = Plain(data.encode())
    lines = data.split("\n")
    for place, line in enumerate(lines):
        fields = line.split("\t")
        if len(fields) != 3:
            continue
        gram = tuple(fields[1].split())
        ends = [other[-1] for other in plain.grams if other[:-1] == gram]
        left = 1 - sum(10 ** plain.grams[(*gram, end)][0] for end in ends)
        shared = 1 - sum(10 ** plain.log10(gram[1:], end) for end in ends)
        plain.grams[gram] = float(fields[0]), math.log10(left / shared) if ends else 0.0
        lines[place] = f"{fields[0]}\t{fields[1]}\t{plain.grams[gram][1]:.9g}"
    return "\n".join(lines)


def test_values_of_bytes_that_a_file_does_not_know_share_the_unknowns_probability(tmp_path):
    counts = read(LMPLZ, ByteTokenizer(), EOS, tmp_path)
    p = counts.p[:258]
    assert p[2 + ord("a")] == pytest.approx(0.4)
    assert np.allclose(np.delete(p, [EOS, 2 + ord("a"), 2 + ord("b")]), 0.1 / 255, rtol=1e-6)


# What is refused


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ("a", r"has another vocabulary than the text: 1 of its tokens are not in it: b$"),
        (
            "abc\n",
            r"has another vocabulary than the text: 2 tokens in it have no 1-gram: c, \\x0a$",
        ),
        (
            "xyzuvwa",
            "1 of its tokens are not in it: b; 6 tokens in it have no 1-gram: x, y, z, u, v, ...$",
        ),
    ],
)
def test_another_vocabulary_is_told(tokens, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        read(LMPLZ, CharTokenizer(list(tokens)), EOS, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'counts.arpa'}: ")


WRONG = {
    "": "ends before",
    "no ARPA file\n" * 10: "ends before",
    LMPLZ.replace("\\data\\\n", "\\data\\\nngram\n"): "line 3: should be ngram 1=N, not ngram$",
    LMPLZ.replace("ngram 2", "ngram 3"): "line 4: should give the number of 2-grams",
    LMPLZ.replace("ngram 3=1", "\n".join(f"ngram {k}=1" for k in range(3, 12))): "order 11: the highest here is 10",
    LMPLZ.replace("ngram 3=1", "ngram 3=10000000000"): "10,000,000,008 n-grams, more than",
    LMPLZ.replace("ngram 2=3", "ngram 2=4"): "line 19: only 3 2-grams of the 4",
    LMPLZ.replace("ngram 2=3", "ngram 2=2"): "line 17: more 2-grams than the 2",
    LMPLZ.replace("\\2-grams:", "\\4-grams:"): r"line 14: should be \\2-grams:, not \\4-grams:",
    LMPLZ.replace("\\end\\", ""): "ends before",
    LMPLZ.replace("\\end\\", "\\4-grams:"): r"line 22: should be \\end\\, not",
    LMPLZ[: LMPLZ.index("\n\n\\3")]: "ends before",
    LMPLZ.replace("\ta b\t0", "\ta"): "line 16: should have log10 p, 2 tokens",
    LMPLZ.replace("\ta b\t", "\ta b b b\t"): "line 16: should have",
    LMPLZ.replace("\ta b\t", "\ta q\t"): "line 16: q has no 1-gram",
    LMPLZ.replace("-0.2218487", "x"): "line 16: x is no number",
    LMPLZ.replace("-0.2218487", "nan"): "line 16: nan is too large",
    LMPLZ.replace("-0.2218487", "0.3"): "line 16: 0.3 is too large",
    LMPLZ.replace("-0.60206", "inf"): "line 15: inf is too large",
    LMPLZ.replace("-0.60206", "1e400"): "line 15: 1e400 is too large",
    LMPLZ.replace("-0.60206", "0.7"): "do not sum to 1",
    LMPLZ.replace("\ta </s>\t", "\ta b\t"): "line 17: its n-gram stands in the file twice",
    LMPLZ.replace("\tb\t", "\ta\t"): "line 12: a stands in the file twice",
    LMPLZ.replace("\n-0.39794", "\n-1.39794"): "do not sum to 1",
    "\\data\\\nngram 1=0\n\\1-grams:\n\\end\\\n": "2 tokens in it have no 1-gram",
    LMPLZ + "x" * 3_000_000: None,
    "x" * 3_000_000: "a line is longer than",
}  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_wrong_is_told_with_its_line(number, tmp_path):
    data, message = list(WRONG.items())[number]
    if message is None:
        assert read(data, AB, EOS, tmp_path).order == 3
        return
    with pytest.raises(DataError, match=message) as caught:
        read(data, AB, EOS, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'counts.arpa'}: ")


def test_a_file_with_too_many_ngrams_is_refused_also_where_they_are_put_in(tmp_path, monkeypatch):
    tokenizer, begin, data = pruned("char lines", 4, 0)
    put_in = sum(read(data, tokenizer, begin, tmp_path).ngrams())
    listed = len(Plain(data).grams)
    monkeypatch.setattr(assembly, "MOST", put_in - 1)
    monkeypatch.setattr(arpa_reader, "MOST", put_in - 1)
    assert listed < put_in
    with pytest.raises(DataError, match="with their prefixes and suffixes: prune it first"):
        read(data, tokenizer, begin, tmp_path)


def test_damaged_compression_is_told(tmp_path):
    with pytest.raises(DataError, match="damaged or cut-off gzip file"):
        read(gzip.compress(LMPLZ.encode())[:-9], AB, EOS, tmp_path)


FIELDS = [b"0", b"-1e9", b"-inf", b"1_0", b"<s>", b"\\", b"\xff", b"99"]


@given(st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_give_a_table_or_one_line(tmp_path, rng, changes):
    """Lines left out, doubled, exchanged, cut; bytes changed; numbers in the place of others."""
    data = bytearray(LMPLZ.encode())
    for _ in range(changes):
        lines = bytes(data).split(b"\n")
        place, other = (rng.randrange(len(lines)) for _ in range(2))
        kind = rng.randrange(6)
        if kind == 0:
            del lines[place]
        elif kind == 1:
            lines.insert(place, lines[other])
        elif kind == 2:
            lines[place], lines[other] = lines[other], lines[place]
        elif kind == 3:
            lines[place] = lines[place][: rng.randrange(1 + len(lines[place]))]
        elif kind == 4:
            fields = lines[place].split(b"\t")
            fields[rng.randrange(len(fields))] = rng.choice(FIELDS)
            lines[place] = b"\t".join(fields)
        data = bytearray(b"\n".join(lines))
        if kind == 5 and data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    with contextlib.suppress(DataError):
        counts = read(bytes(data), AB, rng.choice([EOS, None]), tmp_path)
        assert np.isfinite(by_counts(counts, [2, 3, 2, 2, 3])).all()
