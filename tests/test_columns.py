"""Columns, and lines `source TAB target`: what is a token, what passes, what is an error, what
tells them apart."""

import bz2
import gzip
import lzma
import os
import threading
import tracemalloc
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import DataError, UsageError
from charlm.text.character_tags import applied, character_tags, pairs_of, read_pairs
from charlm.text.columns import Layout, Sentences, read_sentences
from charlm.text.reading import open_file
from charlm.text.stream import Lines, open_lines
from charlm.text.tag_forms import Form, find_form

TABS, SPACES = Layout(True), Layout(False)


def written(folder, text, name="gold"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_file(str(path))


def found(text, **options):
    """Return the form of a text, by its name in `folder`, and the reason."""
    return find_form(text if isinstance(text, list) else [text], "utf-8", **options)


def rows(sentences):
    """Return each sentence as `token/tag ...`."""
    return [
        " ".join(f"{token}/{tag}" for token, tag in zip(each.tokens, each.tags, strict=True))
        for each in sentences
    ]


def read(folder, text, layout=None, **options):
    """Return the sentences of a text in the layout that is given, or found."""
    file = written(folder, text)
    layout = layout or found(file, **options)[0].layout
    return rows(read_sentences(file, layout, "utf-8"))


def given_lines(text, layout, tagged=False, pieces=()):
    """Return the sentences of a text that comes in pieces."""
    texts = pieces or [text]
    return list(Sentences(Lines(iter(texts), lambda: True), layout, "stdin", tagged))


# Where columns part


def test_columns_part_at_tabs_if_every_token_has_one(tmp_path):
    assert read(tmp_path, "New York\tB-x\nis\tO\n\na b\tO\n") == ["New York/B-x is/O", "a b/O"]
    assert read(tmp_path, "New\tB-x\nis O\n\na  \t O\n") == ["New/B-x is/O", "a/O"]
    assert read(tmp_path, "010 I-MISC\nis O\n") == ["010/I-MISC is/O"]
    nbsp = "10\u00a0000 NUM\n\u3000 X\n\x85 Y\n\n"  # white space to Python, and part of a token all the same
    assert read(tmp_path, nbsp) == ["10\u00a0000/NUM \u3000/X \x85/Y"]


def test_blank_lines_of_any_white_space_end_sentences_and_the_end_of_a_file_too(tmp_path):
    text = "\n\na\tO\n \t\nb\tO\n\n\n\u2003\nc\tO"
    assert read(tmp_path, text) == ["a/O", "b/O", "c/O"]
    file = written(tmp_path, "d\tO\n", "other")
    form, reason = found([written(tmp_path, text), file])
    assert reason.startswith("tags: words, because blank lines part 4 sentences")
    assert rows(form.sentences(file, "utf-8")) == ["d/O"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "a/3 b/6"),
        ({"column": 2}, "a/1 b/4"),
        ({"column": -2}, "a/2 b/5"),
        ({"token_column": 2, "column": 3}, "1/2 4/5"),
        ({"token_column": -1, "column": 1}, "3/a 6/b"),
    ],
)
@pytest.mark.parametrize("separator", ["\t", " ", "   "])
def test_which_columns_are_read(tmp_path, options, expected, separator):
    text = separator.join("a123") + "\n" + separator.join("b456") + "\n"
    assert read(tmp_path, text, **options) == [expected]


def test_layouts_are_described(tmp_path):
    for text, options, told in [
        ("a\tx\n\nb\ty", {}, "parted by tabs, the token in column 1, the tag in column 2 of 2"),
        ("a x 1\n\nb y 2", {}, "parted by white space, the token in column 1, the tag in column 3 of 3"),
        ("a x 1\n\nb y 2", {"token_column": -1, "column": 2},
         "parted by white space, the token in column 3, the tag in column 2 of 3"),
    ]:  # fmt: skip
        _, reason = found(written(tmp_path, text), **options)
        why = "as set" if options else "because blank lines part 2 sentences"
        assert reason == f"tags: words, {why}; columns: {told}"


# What passes


def test_documents_begin_with_lines_that_are_no_tokens(tmp_path):
    text = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n-DOCSTART-\nPeter NNP B-NP B-PER\n"
    assert read(tmp_path, text) == ["EU/B-ORG rejects/O", "Peter/B-PER"]
    assert read(tmp_path, "-DOCSTART-\n\na\tO\n\n-DOCSTART-\tO\n\n-DOCSTART-x\tO\n") == [
        "a/O",
        "-DOCSTART-x/O",
    ]


CONLLU = """# sent_id = 1
# text = vámonos al mar\tya
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
2.1\tal\t_\tX\t_\t_\t_\t_\t_\t_
3\t#\t#\tSYM\t_\t_\t1\tobl\t_\t_

#newdoc
# sent_id = 2
1\tmar\tmar\tNOUN\t_\t_\t0\troot\t_\t_
"""


def test_ten_columns_that_count_are_conllu(tmp_path):
    assert read(tmp_path, CONLLU) == ["vamos/VERB nos/PRON #/SYM", "mar/NOUN"]
    _, reason = found(written(tmp_path, CONLLU))
    assert reason.endswith("columns: CoNLL-U, the token in column 2, the tag in column 4 of 10")
    assert read(tmp_path, CONLLU, token_column=3, column=8) == [
        "ir/root nosotros/obj #/obl",
        "mar/root",
    ]
    other = CONLLU.replace(
        "3\t#", "x\t#"
    )  # then it does not count, and ranges are tokens, comments none
    file = written(tmp_path, other)
    with pytest.raises(DataError, match="line 9 has 1 column"):
        list(read_sentences(file, found(file)[0].layout, "utf-8"))
    assert found(file)[0].layout == Layout(True)


def test_a_token_may_look_like_a_comment_or_a_range(tmp_path):
    assert read(tmp_path, "#\tO\n#NFL\tB-x\n\n#fail\tO\n\n# \tO\n\n#\tO\n") == [
        "#/O #NFL/B-x", "#fail/O", "#/O", "#/O",
    ]  # fmt: skip
    assert read(tmp_path, "# O\n\n# O\n# I-x\n\nx O\n") == ["#/O", "#/O #/I-x", "x/O"]
    assert read(tmp_path, "3-4\tNO\n5.1\tNO\n") == ["3-4/NO 5.1/NO"]


def test_comments_where_columns_part_at_tabs_have_spaces_and_no_tab(tmp_path):
    assert read(tmp_path, "# sent 1\n# two of it\n#\tO\n\n# sent 2\na\tO\n\nb\tO\n") == [
        "#/O", "a/O", "b/O",
    ]  # fmt: skip
    with pytest.raises(
        DataError, match="line 4 has 1 column"
    ):  # it may be a token whose tag is gone
        read(tmp_path, "a\tO\nb\tO\n\n#lost\nc\tO\n")
    with pytest.raises(DataError, match="line 2 has 1 column"):  # no comment inside of a sentence
        read(tmp_path, "a\tO\n# note\nb\tO\n", TABS)


def test_comments_that_could_be_tokens_head_every_sentence(tmp_path):
    """As in the files of MultiCoNER: `# id`, and columns parted by spaces."""
    text = "\n".join(f"# id {n}\tdomain=en\n# O\nx _ _ B-x\n# _ _ O\n" for n in range(3))
    text = text.replace("# O\n", "", 1)  # in one sentence only one line heads: so does it in all
    file = written(tmp_path, text.replace("# O\n", "# _ _ O\n"))
    form, reason = found(file)
    assert rows(form.sentences(file, "utf-8")) == ["x/B-x #/O", "#/O x/B-x #/O", "#/O x/B-x #/O"]
    assert form.layout.heads == 1
    assert reason.endswith("of 4; before each sentence a line, # ..., is no token")
    again = "# O\nx O\n# O\n\n# O\ny O\n"  # a comment and a token may be written alike
    assert read(tmp_path, again) == ["x/O #/O", "y/O"]
    one = "# O\nx O\n\nb O\n"  # not in every sentence
    assert read(tmp_path, one) == ["#/O x/O", "b/O"]
    assert read(tmp_path, "# O\n\n# O\nx O\n") == ["#/O", "#/O x/O"]
    assert read(tmp_path, "# O\nx O\n") == ["#/O x/O"]  # nothing to compare with


# What is an error


@pytest.mark.parametrize(
    ("text", "layout", "problem"),
    [
        ("a\tO\nb\n", TABS, "line 2 has 1 column, where line 1 has 2; columns part at tabs"),
        ("a b O\n\nc O\n", SPACES, "line 3 has 2 columns, where line 1 has 3; columns part at white space"),
        ("a\n", Layout(False, 2, -1), "line 1 has 1 column, where 2 are needed"),
        ("a O\n", TABS, "line 1 has 1 column: its token and its tag would be the same"),
        ("a O\n", Layout(False, 1, 3), "line 1 has 2 columns, where 3 are needed"),
        ("a O\n", Layout(False, -3, 1), "line 1 has 2 columns, where 3 are needed"),
        ("a O\n", Layout(False, 2, -1), "line 1 has 2 columns: its token and its tag would be the same"),
        ("a\tO\n\tO\n", TABS, "line 2 has an empty token (column 1)"),
        ("a\t\n", TABS, "line 1 has an empty tag (column 2)"),
        ("a\tx\x07\n", TABS, r"line 1 has a tag that cannot be shown, 'x\x07', (column 2)"),
    ],
)  # fmt: skip
def test_a_line_that_does_not_fit_is_named(tmp_path, text, layout, problem):
    file = written(tmp_path, text)
    with pytest.raises(DataError) as error:
        list(read_sentences(file, layout, "utf-8"))
    assert str(error.value).startswith(f"{file.name}: {problem}")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tags": "word"}, "tags must be words or characters, not 'word'"),
        ({"column": 0}, "column counts from 1"),
        ({"token_column": 0}, "token-column counts from 1"),
        ({"tags": "characters", "column": 2}, "column does not go with tags of characters"),
    ],
)
def test_settings_that_cannot_be(tmp_path, options, problem):
    with pytest.raises(UsageError, match=problem):
        found(written(tmp_path, "a\tO\n"), **options)


def test_a_file_of_documents_and_comments_alone_has_no_token(tmp_path):
    with pytest.raises(DataError, match="holds no token"):
        found(written(tmp_path, "-DOCSTART-\n\n-DOCSTART-\n"), tags="words")


# Files of every kind


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_compressed_marked_and_foreign_line_ends(tmp_path, pack, encoding):
    data = "å\tO\r\nb\tI-x\r\n\r\nc\tO".encode(encoding)
    file = written(tmp_path, pack(data))
    how = "latin-1" if encoding == "latin-1" else "utf-8"
    assert rows(read_sentences(file, TABS, how)) == ["å/O b/I-x", "c/O"]


@given(st.integers(1, 9))
def test_blocks_do_not_matter(size):
    pieces = [CONLLU[start : start + size] for start in range(0, len(CONLLU), size)]
    layout = Layout(True, 2, 4, conllu=True)
    assert given_lines("", layout, True, pieces) == given_lines(CONLLU, layout, True)


def test_memory_does_not_grow_with_the_file(tmp_path):
    small, large = ("a\tO\nb\tB-x\n\n" * count for count in (2_000, 30_000))
    peaks = []
    for name, text in (("small", small), ("large", large)):
        file = written(tmp_path, text, name)
        tracemalloc.start()
        count = sum(1 for _ in read_sentences(file, TABS, "utf-8", 1 << 12))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == text.count("\n\n")
    assert peaks[1] < 1.2 * peaks[0] + 10_000


def test_a_very_long_sentence_is_one(tmp_path):
    file = written(tmp_path, "a\tO\n" * 100_000)
    (sentence,) = read_sentences(file, TABS, "utf-8")
    assert len(sentence.tokens) == len(sentence.tags) == 100_000


# As they come, every line as it was


def whole(sentences):
    return "\n".join(line for each in sentences for line in each.lines)


@pytest.mark.parametrize("tagged", [False, True])
def test_lines_come_back_as_they_were(tagged):
    text = "-DOCSTART-\tO\n\n# a b\nx  \ty z \tO\n\u00a0y\t\t_\n \t\n\n\nz\t1\t2\n"
    sentences = given_lines(text, TABS, tagged)
    assert whole(sentences) + "\n" == text
    tokens = [each.tokens for each in sentences]
    assert tokens == [[], ["x", "\u00a0y"], [], [], ["z"]]
    for each in sentences:
        cells = [each.lines[place].split("\t")[0].strip(" ") for place in each.places]
        assert cells == list(each.tokens)
    assert given_lines(CONLLU, Layout(True, 2, 4))[0].places == [3, 4, 6]
    assert whole(given_lines(CONLLU, Layout(True, 2, 4))) + "\n" == CONLLU


def test_tokens_alone_are_read_without_tags():
    """One in a line: also a hashtag that begins a sentence, and other columns than in training."""
    sentences = given_lines("# a comment\n#NFL\nwins\n\n#\n", TABS)
    assert [each.tokens for each in sentences] == [["#NFL", "wins"], ["#"]]
    assert [each.tags for each in sentences] == [[], []]
    assert given_lines("a\nb 1 2\nc 1\n", SPACES)[0].tokens == ["a", "b", "c"]
    assert given_lines("a\nb\n", Layout(True, 2, 4, conllu=True))[0].tokens == ["a", "b"]
    with pytest.raises(DataError, match="stdin: line 2 has 1 column, where 2 are needed"):
        given_lines("1\ta\n2\n", Layout(True, 2))


def test_conllu_is_seen_where_tags_are_not_read():
    for layout in (Layout(True, 2), Layout(False, 2), Layout(True, 2, 4, conllu=True)):
        sentences = given_lines(CONLLU, layout)
        assert [each.tokens for each in sentences] == [["vamos", "nos", "#"], ["mar"]]
    spaced = CONLLU.replace("\tvamos\t", "\tva mos\t")
    assert given_lines(spaced, Layout(False, 2))[0].tokens == ["va mos", "nos", "#"]
    later = given_lines("-DOCSTART-\n\n#text\n" + CONLLU, Layout(True, 2))
    assert [each.tokens for each in later] == [[], ["vamos", "nos", "#"], ["mar"]]
    assert given_lines("1-2\tx\n", Layout(True))[0].tokens == ["1-2"]


def test_a_sentence_comes_as_soon_as_its_blank_line(tmp_path):
    """Begun ones are not waited for while there is one to answer."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    steps, go_on = [], threading.Event()

    def write():
        with open(path, "wb", buffering=0) as pipe:
            pipe.write(b"a\tO\nb\tO\n\nc\tO\n")
            go_on.wait(10)
            pipe.write(b"d\tO\n\n")

    writer = threading.Thread(target=write)
    writer.start()
    sentences = Sentences(open_lines(path, "utf-8"), TABS, path, tagged=False)
    steps.append(next(sentences).tokens)
    steps.append(sentences.ready())  # `c` is there, and its sentence is not over
    go_on.set()
    steps.append(next(sentences).tokens)
    writer.join()
    assert steps == [["a", "b"], False, ["c", "d"]]
    assert sentences.ready()
    assert list(sentences) == []


# Words or characters


def test_lines_of_equal_length_are_characters(tmp_path):
    file = written(tmp_path, "cesky\tčeský\n\u0065\u0301\té\nnic\tnic\n")
    form, reason = found(file)
    assert form == Form("characters", None)
    assert (
        reason == "tags: characters, because each of 3 lines is source TAB target of equal length"
    )
    assert rows(form.sentences(file, "utf-8"))[0] == "c/č e/ s/ k/ y/ý"
    assert found(written(tmp_path, "a\tb"))[1].endswith(
        "because the line is source TAB target of equal length"
    )


def test_blank_lines_make_columns(tmp_path):
    form, reason = found(written(tmp_path, "a\tb\nc\td\n\ne\tf\n"))
    assert form == Form("words", TABS)
    assert reason.startswith("tags: words, because blank lines part 2 sentences; columns: ")
    assert found(written(tmp_path, "\na\tb\nc\td\n\n"))[0].unit == "characters"  # nothing is parted
    form, reason = found(written(tmp_path, "dog\tN\nbarks\tV\n"))
    assert form.unit == "words"
    assert "because the lines are not source TAB target of equal length" in reason
    assert found(written(tmp_path, "a\tb\n"), tags="words")[1].startswith("tags: words, as set; ")
    assert found(written(tmp_path, "a\tb\n\nc\td\n"), tags="characters") == (
        Form("characters", None), "tags: characters, as set",
    )  # fmt: skip
    two = [written(tmp_path, "a\tb\n", "one"), written(tmp_path, "c\td\n", "two")]
    assert found(two)[0].unit == "characters"  # the end of a file is no blank line
    two[0] = written(tmp_path, "a\tb\n\n", "one")
    assert found(two)[0].unit == "characters"  # nor is one that ends it between lines


def test_one_odd_line_among_pairs_is_an_error_and_no_column(tmp_path):
    file = written(tmp_path, "ab\táb\ncd\tcde\nef\tef\n")
    form, reason = found(file)
    assert reason == "tags: characters, because 2 of 3 lines are source TAB target of equal length"
    with pytest.raises(DataError) as error:
        list(form.sentences(file, "utf-8"))
    lengths = "a source of 2 characters and a target of 3 (in NFC): they should be equal"
    assert str(error.value) == f"{file.name}: line 2 has {lengths}"


def test_lines_with_other_than_a_tab_are_named(tmp_path):
    for line, tabs in (("ab", "no tab"), ("a\tb\tc", "2 tabs")):
        with pytest.raises(
            DataError, match=f"gold: line 3 has {tabs}, but should be: source TAB target"
        ):
            list(read_pairs(written(tmp_path, f"a\tb\n\n{line}\n"), "utf-8"))


def test_lengths_are_those_of_nfc():
    decomposed = unicodedata.normalize("NFD", "český")
    assert list(pairs_of([f"cesky\t{decomposed}", " \t ", f"{decomposed}\tcesky"], "x")) == [
        ("cesky", "český"), ("český", "cesky"),
    ]  # fmt: skip
    with pytest.raises(DataError, match="a source of 1 characters and a target of 2"):
        list(pairs_of(["x\tx\u030c"], "x"))  # NFC has no such letter


@given(st.text(st.characters(exclude_characters="\t\n", exclude_categories=["Cs"]), min_size=1))
def test_tags_of_characters_make_the_target(target):
    target = unicodedata.normalize("NFC", target)
    source = "".join("e" if character in "éè" else character for character in target)[::-1]
    tags = character_tags(source, target)
    assert applied(source, tags) == target
    assert [tag == "" for tag in tags] == [
        one == other for one, other in zip(source, target, strict=True)
    ]
