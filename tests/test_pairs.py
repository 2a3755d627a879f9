"""A corpus of pairs: its parts, vocabularies, what is read of them and what is told."""

import itertools
import random
import tracemalloc

import numpy as np
import pytest

from charlm.config import TextConfig
from charlm.errors import DataError, UsageError
from charlm.text import pairs
from charlm.text.pairs import Sides, pair_part, prepare_pairs
from charlm.text.tokenizers import UNK

LETTERS = ["a", "é", "ß", " ", "日", "-"]


def drawn(count, seed=0):
    """Return so many (source, target), no two of them alike."""
    rng = random.Random(seed)
    return [
        (f"{number}{''.join(rng.choices(LETTERS, k=rng.randrange(4)))}",
         "".join(rng.choices(LETTERS, k=rng.randrange(6))))
        for number in range(count)
    ]  # fmt: skip


def written(folder, every, name="pairs.tsv"):
    path = folder / name
    lines = every if isinstance(every, str) else "".join(f"{s}\t{t}\n" for s, t in every)
    path.write_text(lines, encoding="utf-8")
    return str(path)


def read(paths, source="char", target="char", patterns=(None, None), longest=None, **settings):
    own = ("valid_files", "test_files", "known", "begun", "grow", "block")
    text = TextConfig(**{name: value for name, value in settings.items() if name not in own})
    more = {name: value for name, value in settings.items() if name in own}
    sides = Sides.of(text, source, target, *patterns)
    return prepare_pairs(paths, text, sides, longest=longest, **more)


def texts_of(corpus, part):
    """Return (source, target) as the ids of a part say."""
    found = part.pairs(np.arange(len(part)))
    return [(corpus.source.decode(s), corpus.target.decode(t)) for s, t in found]


@pytest.mark.parametrize("block", [16, 1 << 16])
@pytest.mark.parametrize(
    ("kind", "pattern"), [("char", None), ("byte", None), ("word", r"\S+|\s"), ("word", ".")]
)
def test_every_pair_is_in_one_part_as_it_stood(tmp_path, kind, pattern, block):
    every = drawn(300)
    path = written(tmp_path, every)
    source = "char" if pattern else kind
    corpus = read(
        [path], source, kind, (None, pattern), block=block, valid_fraction=0.2, test_fraction=0.1
    )
    parts = [corpus.train, corpus.valid, corpus.test]
    found = [texts_of(corpus, part) for part in parts]
    known = set("".join(corpus.source.to_dict().get("tokens", [])))
    train = found[0]
    assert [len(part) for part in found] == pytest.approx([210, 60, 30], abs=20)
    assert train == [pair for pair in every if pair in set(train)]
    if pattern != r"\S+|\s":  # whole words of other parts may be unknown
        assert sorted(itertools.chain(*found)) == sorted(every)
    assert not known or known <= set("0123456789" + "".join(LETTERS))
    for part, texts in zip(parts, found, strict=True):
        sizes = part.sizes(np.arange(len(part)))
        assert part.tokens == sizes.sum() + 2 * len(texts)
        if kind == "char":
            assert sizes.tolist() == [[len(source), len(target)] for source, target in texts]
    lengths = corpus.train.sizes(np.arange(len(train)))
    most = np.ceil(corpus.per_token * lengths[:, 0]) + corpus.excess
    assert (lengths[:, 1] <= most).all()
    assert corpus.per_token == pytest.approx(lengths[:, 1].sum() / lengths[:, 0].sum())


def test_some_pairs_are_read_in_any_order(tmp_path):
    corpus = read([written(tmp_path, drawn(80))])
    every = corpus.train.pairs(np.arange(len(corpus.train)))
    numbers = np.array([5, 0, 5, 41, 3])
    for found, number in zip(corpus.train.pairs(numbers), numbers.tolist(), strict=True):
        for ours, theirs in zip(found, every[number], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_where_a_pair_falls_is_the_matter_of_its_source(tmp_path):
    every = drawn(200)
    one = read([written(tmp_path, every)])
    other = [(source, target[::-1] + "a") for source, target in reversed(every)]
    two = read([written(tmp_path, other[:90], "a"), written(tmp_path, other[90:], "b")])
    three = read([written(tmp_path, every)], split_seed=1)
    sources = [
        [{source for source, _ in texts_of(corpus, part)} for part in (corpus.train, corpus.valid)]
        for corpus in (one, two, three)
    ]
    assert sources[0] == sources[1] != sources[2]
    assert one.digests != two.digests


def test_equal_sources_are_told_and_stay_together(tmp_path):
    every = drawn(60)
    several = [*every, *((source, target + "!") for source, target in every[:20]), *every[:5]]
    corpus = read([written(tmp_path, several)], valid_fraction=0.3)
    of_train = {source for source, _ in texts_of(corpus, corpus.train)}
    assert not of_train & {source for source, _ in texts_of(corpus, corpus.valid)}
    hashes = corpus.train.hashes().tolist()
    assert len(set(hashes)) == len(of_train)
    assert "5 of 85 sources repeat another, the target too" in corpus.notes
    ambiguous = len(of_train & {source for source, _ in every[:20]})
    assert f"{ambiguous} sources of the training part stand there with several targets" in (
        corpus.notes
    )
    held = written(tmp_path, [*every[:3], ("new", "x")], "held.tsv")
    shared = read([written(tmp_path, every)], valid_files=[held])
    assert any("3 of 4 validation sources stand in the training part" in n for n in shared.notes)


def test_unknown_tokens_are_told(tmp_path):
    held = written(tmp_path, [("a", "axyx"), ("q", "a")], "held.tsv")
    corpus = read([written(tmp_path, [("a", "aa"), ("b", "a")])], valid_files=[held])
    assert any("validation part have 3 tokens that training has not" in n for n in corpus.notes)
    (source, _), (_, target) = corpus.valid.pairs(np.array([1, 0]))
    assert source.tolist() == [UNK]
    assert np.count_nonzero(target == UNK) == 3


def test_words_are_what_patterns_say_and_every_one_is_kept(tmp_path):
    every = [("V;x=1,ab", "K AE1"), ("N;x=2,b", "K"), ("N;x=2,", "")]
    corpus = read(
        [written(tmp_path, every)], "word", "word", (r"[^ ,]+=[^,]+|.", r"\S+"), valid_fraction=0
    )
    assert [target for _, target in texts_of(corpus, corpus.train)] == [t for _, t in every]
    assert corpus.source.pieces("V;x=1,ab") == ["V;x=1", ",", "a", "b"]
    assert corpus.target.between == " "
    assert corpus.train.sources.unknown == corpus.train.targets.unknown == 0
    few = read(
        [written(tmp_path, every)], "word", "word", (None, r"\S+"), valid_fraction=0, min_count=2
    )
    assert few.target.size == 3
    odd = read([written(tmp_path, [("a", "x  y"), ("b", "z")])], "char", "word", (None, r"\S+"))
    assert any("not written back exactly" in note for note in odd.notes)


def test_rare_tokens_are_left_out_of_the_side_that_can_leave_them_out(tmp_path):
    path = written(tmp_path, [("aab", "xxy"), ("a", "x")])
    corpus = read([path], "byte", "char", min_count=2, valid_fraction=0)
    assert (corpus.source.size, corpus.target.to_dict()["tokens"]) == (258, ["x"])
    assert corpus.train.targets.unknown == 1
    with pytest.raises(UsageError, match="min-count do not go with tokenizer byte"):
        read([path], "byte", "byte", min_count=2)


def test_sources_alone_are_lowered(tmp_path):
    corpus = read([written(tmp_path, [("Ab", "Cd"), ("B", "D")])], lowercase=True, valid_fraction=0)
    assert texts_of(corpus, corpus.train) == [("ab", "Cd"), ("b", "D")]


def test_long_pairs_are_left_out_and_told(tmp_path):
    every = [("a", "b" * 9), ("a" * 9, "b"), ("aa", "bbb"), ("b", "")]
    corpus = read([written(tmp_path, every)], longest=3, valid_fraction=0)
    assert texts_of(corpus, corpus.train) == every[2:]
    told = "2 of 4 pairs have more than 3 tokens on a side (--max-length) and are left out"
    assert told in corpus.notes
    part, notes = pair_part([written(tmp_path, every)], corpus.source, corpus.target, 3)
    assert (len(part), part.left_out, notes) == (2, 2, (told,))


def test_pairs_of_equal_lengths_are_better_tagged(tmp_path):
    equal = [("ab", "cd"), ("a", "c"), ("bbb", "ddd")]
    told = "as many tokens in each pair: tagging is the better task"
    assert any(told in note for note in read([written(tmp_path, equal)], valid_fraction=0).notes)
    other = read([written(tmp_path, [*equal, ("a", "")])], valid_fraction=0)
    assert not any(told in note for note in other.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\nab\n", "pairs.tsv: line 2 has no tab"),
        ("a\tb\n\na\tb\tc\n", "pairs.tsv: line 3 has 2 tabs"),
        ("", "it is empty"),
        (" \n", "holds nothing|no token"),
    ],
)
def test_files_that_are_no_pairs(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read([written(tmp_path, text)])


def test_settings_that_do_not_go_with_pairs(tmp_path):
    path = written(tmp_path, drawn(9))
    for settings in ({"sequences": "paragraph"}, {"sequences": "document"}, {"hold_out": "files"}):
        with pytest.raises(UsageError, match="does not go with task convert"):
            read([path], **settings)
    with pytest.raises(UsageError, match="word-pattern"):
        read([path], patterns=("x", None))
    empty = written(tmp_path, "\n", "empty.tsv")
    with pytest.raises(DataError, match="holds no text"):
        read([path], test_files=[empty])
    corpus = read([path])
    with pytest.raises(DataError, match="holds no text"):
        pair_part([empty], corpus.source, corpus.target)


def test_blank_lines_are_none_and_empty_texts_are_texts(tmp_path):
    corpus = read([written(tmp_path, "\ta\n  \nb\t\n\t\n")], valid_fraction=0)
    assert texts_of(corpus, corpus.train) == [("", "a"), ("b", ""), ("", "")]


def test_known_tokenizers_are_used_and_those_of_sources_may_grow(tmp_path):
    first = read([written(tmp_path, [("ab", "xy")])], valid_fraction=0)
    path = written(tmp_path, [("bc", "xz")], "more.tsv")
    again = read([path], known=(first.source, first.target), valid_fraction=0)
    assert (again.source, again.target) == (first.source, first.target)
    assert (again.train.sources.unknown, again.train.targets.unknown) == (1, 1)
    grown = read([path], begun=first.source, valid_fraction=0)
    assert grown.source.to_dict()["tokens"] == ["a", "b", "c"]
    assert grown.target.to_dict()["tokens"] == ["x", "z"]
    kept = read([path], begun=first.source, grow=False, valid_fraction=0)
    assert kept.source is first.source


def test_memory_does_not_grow_with_the_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "_BLOCK_PAIRS", 256)
    peaks = []
    for times in (1, 8):
        path = written(tmp_path, drawn(2000) * times)
        tracemalloc.start()
        read([path], block=1 << 12)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.5 * peaks[0]
