"""What a file holds is told by its content: compressed text, other encodings, no text. It may change meanwhile."""

import bz2
import gzip
import io
import lzma
import os
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from charlm import checkpoint
from charlm.config import TextConfig
from charlm.errors import DataError
from charlm.text import corpus as corpus_module
from charlm.text.contents import binary, foreign, guessed_encoding, is_text
from charlm.text.corpus import prepare
from charlm.text.reading import open_file, text_blocks

ALL = {"valid_fraction": 0.0}
ENGLISH = "One line, and then\nanother: é!\n\nA third.\r\n" * 30
RUSSIAN = "Все счастливые семьи\nпохожи друг на друга,\n\n" * 30
CHINESE = "道可道，非常道。名可名，非常名。\n一二三四五，上山打老虎。\n" * 30
PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}

every_tokenizer = pytest.mark.parametrize("kind", ["char", "byte", "word"])


def put(folder, content, name="corpus.txt"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def digest(path, kind="char", block=1 << 20, **settings):
    return prepare([path], TextConfig(kind, **ALL, **settings), block=block).train.digest


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        about = tarfile.TarInfo("a.txt")
        about.size = 5
        archive.addfile(about, io.BytesIO(b"text\n"))
    return file.getvalue()


@every_tokenizer
@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["names.bin", "names.gz", "names.txt"])
def test_packed_text_opens_whatever_its_name(tmp_path, kind, packer, name):
    pack, data = PACKERS[packer], ENGLISH.encode()
    plain = digest(put(tmp_path, data), kind)
    members = pack(data[:100]) + pack(b"") + pack(data[100:])
    for block in (3, 1 << 20):
        assert digest(put(tmp_path, pack(data), name), kind, block) == plain
        assert digest(put(tmp_path, members, name), kind, block) == plain


def test_a_packed_name_says_nothing(tmp_path):
    plain = digest(put(tmp_path, ENGLISH))
    assert digest(put(tmp_path, ENGLISH, "a.gz")) == digest(put(tmp_path, ENGLISH, "a.xz")) == plain


@every_tokenizer
@pytest.mark.parametrize("packer", PACKERS)
def test_damaged_packed_text_is_one_sentence(tmp_path, kind, packer):
    whole = PACKERS[packer](np.random.default_rng(0).bytes(3000).hex().encode())
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 20]) + whole[middle + 20 :]
    for data in (whole[:-9], whole[:middle], whole[:20], flipped):
        with pytest.raises(DataError, match=f"c: damaged or cut-off {packer} file .*; unpack it to see what is left$"):
            digest(put(tmp_path, data, "c"), kind)


def test_a_python_that_cannot_unpack_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(DataError, match="c: this Python cannot unpack xz: unpack it first"):
        digest(put(tmp_path, lzma.compress(b"text"), "c"))


def safetensors(folder):
    checkpoint.save(folder / "m", {"a": np.zeros(3, np.float32)}, {})
    return (folder / "m").read_bytes()


FOREIGN = {
    "zip": (zipped(text="abc"), "is a zip archive: unpack it, and give"),
    "docx": (zipped(**{"[Content_Types].xml": "", "word__document.xml": ""}), r"is a Word document \(docx\): save it"),
    "xlsx": (zipped(**{"[Content_Types].xml": "", "xl__workbook.xml": ""}), "is an Excel workbook"),
    "epub": (zipped(mimetype="application/epub+zip", a="b"), "is an EPUB book: save it as plain text"),
    "odt": (zipped(mimetype="application/vnd.oasis.opendocument.text"), "is an OpenDocument file"),
    "tar": (tarred(), "is a tar archive: unpack it"),
    "tar.gz": (gzip.compress(tarred()), "is a tar archive: unpack it"),
    "twice": (gzip.compress(bz2.compress(b"text")), "is bzip2 data: unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00\x41", r"is zstd data: unpack it first \(zstd -d\)"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00\x04", "is a 7z archive"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF: take its text out first"),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "is an old Office document"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "Git LFS pointer.*git lfs pull"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(30), "is a PNG picture"),
    "numbers": (np.arange(3000, dtype=np.float32).tobytes(), "is binary, not text: give text, or use a model of bytes"),
}


@pytest.mark.parametrize("kind", ["char", "word"])
@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_text_is_named(tmp_path, kind, name):
    data, problem = FOREIGN[name]
    for use in ({}, {"valid_file": put(tmp_path, data, "held")}):
        path = put(tmp_path, "some text\nand more\n" * 30 if use else data)
        with pytest.raises(DataError, match=f"{'held' if use else 'corpus.txt'}: .*{problem}"):
            prepare([path], TextConfig(kind), block=7, **use)
    assert prepare([put(tmp_path, data)], TextConfig("byte", sequences="document", **ALL)).train.characters > 3


def test_a_model_is_no_text(tmp_path):
    with pytest.raises(DataError, match=r"is a safetensors file: .* a model goes with -m or --init-from"):
        digest(put(tmp_path, safetensors(tmp_path)))


@pytest.mark.parametrize("text", [ENGLISH, RUSSIAN, CHINESE], ids=["english", "russian", "chinese"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_text_is_read_by_its_mark_and_named_without(tmp_path, text, encoding):
    plain = digest(put(tmp_path, text))
    for order in ("-le", "-be"):
        marked = ("\ufeff" + text).encode(encoding + order)
        assert digest(put(tmp_path, marked), block=3) == digest(put(tmp_path, gzip.compress(marked))) == plain
        for data in (text.encode(encoding + order), (text * 10).encode(encoding + order)):
            said = f"looks like {encoding.upper()}: name it with --encoding {encoding}{order}$"
            with pytest.raises(DataError, match=said):
                digest(put(tmp_path, data))
        assert digest(put(tmp_path, text.encode(encoding + order)), encoding=encoding + order) == plain


def test_the_first_bytes_decide_and_text_is_not_mistaken(tmp_path):
    texts = [ENGLISH, RUSSIAN, CHINESE, "10 20 30 40\n" * 900, "ab\0cd\n" * 20, "a\0" + "text " * 300]
    texts += ["BZh9 is no text", "ASCII only\n", "PK is a name\n"]
    for text in [*texts, "%PDX", "\x1b[31mred\x07\n" * 9, "é" * 5000, "7z\n", ""]:
        for encoding in ("utf-8", "latin-1", "cp1251", "utf-8-sig"):
            head = text.encode(encoding, "replace")[:4096]
            assert (foreign(head), guessed_encoding(head), binary(head)) == (None, None, False), (text[:20], encoding)


@pytest.mark.parametrize("content", [bytes(range(256)), bytes(300), b"ID3\3" + bytes([1, 2, 200, 65]) * 50])
def test_bytes_without_a_known_beginning_are_no_text(tmp_path, content):
    path = put(tmp_path, content)
    with pytest.raises(DataError, match=r"is binary, not text|is not valid utf-8"):
        prepare([path], TextConfig())
    put(tmp_path, b"a text\n\nof lines\n", "text.txt")
    found = prepare([str(tmp_path)], TextConfig())
    assert found.paths == (str(tmp_path / "text.txt"),)
    assert "not text: corpus.txt" in found.notes[0]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "gbk", "shift_jis", "koi8-r", "iso2022_jp"])
def test_text_in_an_older_encoding_is_text(encoding):
    text = {"gbk": CHINESE, "shift_jis": "\u3042\u3044\u4e00\n", "koi8-r": RUSSIAN, "iso2022_jp": "\u3042\u3044\n"}
    assert is_text((text.get(encoding, "d\xe9j\xe0 vu\t\f\n") * 20).encode(encoding))


def test_markup_is_seen_behind_a_byte_order_mark(tmp_path):
    found = prepare([put(tmp_path, b"\xef\xbb\xbf<html>\n" + ENGLISH.encode())], TextConfig(valid_fraction=0))
    assert any("looks like HTML" in note for note in found.notes)


def test_standard_input_is_known_by_its_content_too(tmp_path, monkeypatch):
    plain = digest(put(tmp_path, ENGLISH))
    for data in (lzma.compress(ENGLISH.encode()), ("\ufeff" + ENGLISH).encode("utf-16-be")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert digest("-", block=5) == plain


# A file that changes while it is read


def prepared_while(monkeypatch, change, paths, **settings):
    """Prepare a corpus, and change a file after the first of the three readings."""
    decide = corpus_module._decide

    def changing(*arguments):
        change()
        return decide(*arguments)

    monkeypatch.setattr(corpus_module, "_decide", changing)
    return prepare(paths, TextConfig(**settings))


@pytest.mark.parametrize("sequences", ["line", "paragraph", "document"])
def test_a_log_may_grow(tmp_path, monkeypatch, sequences):
    path = put(tmp_path, ENGLISH)
    whole = prepare([path], TextConfig(sequences=sequences))

    def grow():
        with open(path, "ab") as file:
            file.write(b"more, which comes later\n" * 100)

    grown = prepared_while(monkeypatch, grow, [path], sequences=sequences)
    for one, other in ((whole.train, grown.train), (whole.valid, grown.valid)):
        assert one.digest == other.digest


@pytest.mark.parametrize("name", ["shrunk", "emptied", "replaced", "rewritten"])
def test_a_file_that_changes_is_refused(tmp_path, monkeypatch, name):
    path, other = put(tmp_path, ENGLISH), put(tmp_path, ENGLISH[::-1], "other")
    change = {
        "shrunk": lambda: os.truncate(path, 50),
        "emptied": lambda: os.truncate(path, 0),
        "replaced": lambda: os.replace(other, path),
        "rewritten": lambda: put(tmp_path, ENGLISH.replace("third", "fifth")),
    }[name]
    with pytest.raises(DataError, match=r"corpus.txt: changed while it was read: leave it alone meanwhile$"):
        prepared_while(monkeypatch, change, [path])


def test_a_file_that_shrinks_before_its_first_reading_is_refused(tmp_path):
    path = put(tmp_path, ENGLISH)
    source = open_file(path)
    os.truncate(path, 50)
    with pytest.raises(DataError, match=r"corpus.txt: changed while it was read"):
        list(text_blocks(source, "utf-8"))


def test_a_file_without_a_length_is_read():
    if not os.path.exists("/proc/version"):
        pytest.skip("needs /proc")
    assert os.stat("/proc/version").st_size == 0
    assert "".join(text_blocks(open_file("/proc/version"), "utf-8")).startswith("Linux")
