"""Where labels stand: each form, what does not fit, and what is told of it."""

import bz2
import gzip
import lzma

import pytest

from charlm.errors import DataError, UsageError
from charlm.text.labels import LABELS, file_label, find_form, labelled_lines
from charlm.text.reading import Scratch, TextFile, open_file

FITTING = {
    "tab": "ham\tGo on\nspam\tfree\tentry \n\n \nham\t\n a b \t x\n",
    "prefix": "__label__ham Go on\n__label__spam   free\tentry \n\n \n__label__ham\n__label__c\tx\n",
    "first-word": "ham Go on\n spam\tfree\tentry \n\n \nham\nc  x\n",
}
FOUND = {
    "tab": [("ham", "Go on"), ("spam", "free\tentry "), ("ham", ""), ("a b", " x")],
    "prefix": [("ham", "Go on"), ("spam", "free\tentry "), ("ham", ""), ("c", "x")],
    "first-word": [("ham", "Go on"), ("spam", "free\tentry "), ("ham", ""), ("c", "x")],
}
lines_of_each_form = pytest.mark.parametrize("form", FITTING)


def written(folder, text, name="texts.txt"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_file(str(path))


def read(file, form, encoding="utf-8", known=None, size=1 << 20):
    return list(labelled_lines(file, form, encoding, known, size))


@lines_of_each_form
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
@pytest.mark.parametrize("encoding", ["utf-8", None])
def test_lines_give_their_label_and_text(tmp_path, form, size, encoding):
    assert read(written(tmp_path, FITTING[form]), form, encoding, size=size) == FOUND[form]
    assert (
        read(written(tmp_path, FITTING[form].rstrip("\n")), form, encoding, size=size)
        == FOUND[form]
    )


@lines_of_each_form
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_marks_ends_of_lines_encodings_and_compression_are_read_as_ever(tmp_path, form, pack):
    text = FITTING[form].replace("ham", "été")
    found = [(label.replace("ham", "été"), text) for label, text in FOUND[form]]
    returns = text.replace("\n", "\r\n")
    for data in (
        text.encode("utf-8-sig"),
        returns.encode(),
        pack(text.encode()),
        text.encode("utf-16"),
    ):
        assert read(written(tmp_path, data), form) == found
    assert read(written(tmp_path, text.encode("latin-1")), form, "latin-1") == found


@lines_of_each_form
def test_a_label_of_bytes_is_utf8_and_its_text_bytes(tmp_path, form):
    """In Latin-1 the à of voilà ends in what looks like white space."""
    text = {"tab": "voilà\tpà\n", "prefix": "__label__voilà pà\n", "first-word": "voilà pà\n"}[form]
    for data in (text.encode(), text.encode("utf-8-sig")):
        assert read(written(tmp_path, data), form, None) == [
            ("voilà", "pà".encode().decode("latin-1"))
        ]
    with pytest.raises(DataError, match=r"texts\.txt: line 1 has a label that is not UTF-8"):
        read(written(tmp_path, text.encode("latin-1")), form, None)


@pytest.mark.parametrize(
    ("name", "label"),
    [("jig.txt", "jig"), ("a/b/jig.txt.gz", "jig"), ("jig", "jig"), ("jig.gz", "jig"), ("de.names.txt", "de.names"),
     ("new york.TXT.GZ", "new york"), ("x.tar", "x")],
)  # fmt: skip
def test_the_stem_of_a_name_is_a_label(name, label):
    assert file_label(name) == label


def test_files_give_their_names_as_labels(tmp_path):
    for name, data in (
        ("jig.txt", b"A\tB\n\n c \n"),
        ("jig.txt.gz", gzip.compress(b"A\tB\n\n c \n")),
    ):
        assert read(written(tmp_path, data, name), "file") == [("jig", "A\tB"), ("jig", " c ")]
    assert read(written(tmp_path, "x\n", "été.txt"), "file", None) == [("été", "x")]


def test_lines_of_gold_files_may_give_a_label_by_tab_too(tmp_path):
    known = {"jig", "reel"}
    lines = "jig\ta\nreel\tb\nc\td\ne\n"
    of_stranger = [("jig", "a"), ("reel", "b"), ("c", "d"), ("gold", "e")]
    assert read(written(tmp_path, lines, "gold.tsv"), "file", known=known) == of_stranger
    of_known = [("jig", "a"), ("reel", "b"), ("jig", "c\td"), ("jig", "e")]
    assert read(written(tmp_path, lines, "jig.txt"), "file", known=known) == of_known


def test_what_has_no_name_has_no_label():
    copied = TextFile("standard input", Scratch())
    with pytest.raises(
        UsageError, match="file takes the label from a file's name, and standard input has none"
    ):
        read(copied, "file")


MISFITS = {
    (
        "tab",
        "no tab here",
    ): "has no tab, but should be: label TAB text (say with --labels where labels stand: ",
    ("tab", "\tno label"): "has an empty label",
    ("tab", " \u3000\tno label"): "has an empty label",
    ("tab", "a\x07b\tx"): "has a label with a control character, 'a\\x07b'",
    ("tab", "a\u2028b\tx"): "has a label with a control character, 'a\\u2028b'",
    (
        "prefix",
        "label__x y",
    ): "does not begin with __label__, but should be: __label__x text (say with --labels",
    ("prefix", "__label__ x"): "has an empty label",
    ("prefix", "__label__a __label__b x"): "has several labels: give each text one",
    ("prefix", "__label__a x\t__label__b"): "has several labels: give each text one",
    ("first-word", "a\x00b x"): "has a label with a control character, 'a\\x00b'",
}


@pytest.mark.parametrize(("form", "line"), MISFITS)
@pytest.mark.parametrize("size", [2, 1 << 20])
def test_a_line_that_does_not_fit_is_named(tmp_path, form, line, size):
    fitting = FITTING[form]
    file = written(tmp_path, f"{fitting}{line}\n{fitting}")
    with pytest.raises(DataError) as failure:
        read(file, form, size=size)
    assert str(failure.value).startswith(f"{file.name}: line 7 {MISFITS[form, line]}")


def test_a_name_that_is_no_label_is_told(tmp_path):
    with pytest.raises(DataError, match=r"the name has a label with a control character"):
        read(written(tmp_path, "x\n", "a\x07.txt"), "file")


# Where labels stand, unless told


@pytest.mark.parametrize(
    ("texts", "form", "reason"),
    [
        (["a\tb\n\nc\td\te\n"], "tab", "each of 2 lines has a tab"),
        (["a\tb\n", "c\td\n"], "tab", "each of 2 lines has a tab"),
        (["a\tb"], "tab", "the line has a tab"),
        (
            ["__label__a b\n", "\n __label__b c\n"],
            "prefix",
            "each of 2 lines begins with __label__",
        ),
        (["__label__a\tb\n__label__b\tc\n"], "prefix", "each of 2 lines begins with __label__"),
    ],
)
def test_lines_tell_where_labels_stand(tmp_path, texts, form, reason):
    files = [written(tmp_path, text, f"{number}.txt") for number, text in enumerate(texts)]
    assert find_form(None, files, "utf-8") == (form, f"labels: {form}, because {reason}")
    for wanted in LABELS:
        assert find_form(wanted, files, "utf-8") == (wanted, f"labels: {wanted}, as set")


@pytest.mark.parametrize(
    "lines", ["a\tb\n\nc d\n", "__label__a b\n\nc d\n", "__label__x y\n\na\tb\n"]
)
def test_where_nothing_tells_the_ways_are_named(tmp_path, lines):
    files = [written(tmp_path, lines[: lines.index("\n")]), written(tmp_path, lines, "b")]
    with pytest.raises(UsageError) as failure:
        find_form(None, files, "utf-8")
    problem = "line 3 has no label before a tab or after __label__: say with --labels"
    assert str(failure.value).startswith(f"{files[1].name}: {problem}")
    assert all(form in str(failure.value) for form in LABELS)


def test_an_unknown_form_is_refused():
    with pytest.raises(
        UsageError,
        match="labels 'tabs' is unknown: it should be one of file, tab, prefix, first-word",
    ):
        find_form("tabs", [], "utf-8")
