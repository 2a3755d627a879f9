"""Any file is a corpus or an answer in one line; what was encoded comes back.

The full form tries 5,000 random files, a million texts and a gigabyte.
"""

import gzip
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.text.tokenizers import UNK, ByteTokenizer, CharTokenizer
from tests.test_commands import ROOT, SMALL, charlm

PROSE = "The cat sat on the mat.\nA dog, which ran, barked.\n"

NAMED = {
    "empty": b"",
    "one byte": b"a",
    "one newline": b"\n",
    "no final newline": PROSE.encode() * 5 + b"the end",
    "CRLF": PROSE.replace("\n", "\r\n").encode() * 5,
    "CR alone": PROSE.replace("\n", "\r").encode() * 5,
    "byte order mark": b"\xef\xbb\xbf" + PROSE.encode() * 5,
    "UTF-16": PROSE.encode("utf-16") * 5,
    "UTF-32": PROSE.encode("utf-32-le") * 5,
    "invalid at the first byte": b"\xff" + PROSE.encode() * 5,
    "invalid in the middle": PROSE.encode() * 3 + b"\xc3(" + PROSE.encode() * 3,
    "cut in the last character": PROSE.encode() * 5 + "ä".encode()[:1],
    "overlong": b"\xc0\xaf" + PROSE.encode(),
    "surrogates": b"\xed\xa0\x80\xed\xb0\x80" + PROSE.encode(),
    "NUL": b"ab\0cd\n" * 20,
    "only NUL": b"\0" * 300,
    "composed": unicodedata.normalize("NFC", "crème brûlée\n" * 20).encode(),
    "decomposed": unicodedata.normalize("NFD", "crème brûlée\n" * 20).encode(),
    "joined emoji": "👩‍👩‍👧‍👦 family\n👍🏽\n".encode() * 20,
    "right to left": "שלום עולם\nمرحبا بالعالم\n".encode() * 20,
    "bidi controls": "a\u202eb\u202cc\u2066d\u2069\n".encode() * 20,
    "line separators": "one\u2028two\u2029three\x85four\x0bfive\x0csix\n".encode() * 20,
    "astral": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈\n".encode() * 20,
    "private and unassigned": "\ue000\U0010ffff\u0378\n".encode() * 20,
    "combining marks": ("a" + "\u0301" * 50 + "\n").encode() * 20,
    "one long line": b"abcde " * 20_000,
    "only newlines": b"\n" * 500,
    "only spaces": b" " * 500,
    "blank lines between": b"a b\n\n\n\nc d\n   \n" * 30,
    "escape sequences": b"\x1b[31mred\x1b]0;title\x07\n" * 20,
    "the tokens' own names": b"<unk> <eos> <unk>\n" * 20,
    "gzip": gzip.compress(PROSE.encode() * 5),
    "gzip cut short": gzip.compress(random.Random(0).randbytes(5000))[:-20],
    "gzip with a wrong sum": gzip.compress(PROSE.encode() * 5)[:-8] + b"\0" * 8,
    "all bytes": bytes(range(256)) * 4,
    "all alike": b"a" * 1000,
}


def trains_or_answers(tmp_path, content, *options):
    """Train on a file; return whether that went well. If not, one line on stderr says why, and nothing is left."""
    packed = content[:2] == b"\x1f\x8b"
    path, where = tmp_path / ("text.gz" if packed else "text"), tmp_path / "m"
    path.write_bytes(content)
    result = charlm("train", path, "-m", where, "-q", "--force", *SMALL, *options)
    if result.exit_code:
        assert result.exit_code in (2, 65), result.stderr
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert str(path) in result.stderr or "corpus" in result.stderr
        return False
    assert charlm("sample", "-m", where, "--length", 5, "--seed", 1).exit_code == 0
    return True


REFUSED = {
    "char": {
        "empty", "one byte", "one newline", "UTF-32", "invalid at the first byte", "invalid in the middle",
        "cut in the last character", "overlong", "surrogates", "only newlines", "only spaces", "gzip cut short",
        "gzip with a wrong sum", "all bytes", "only NUL",
    },
    "byte": {
        "empty", "one byte", "one newline", "only newlines", "only spaces", "gzip cut short", "gzip with a wrong sum",
    },
}  # fmt: skip


@pytest.mark.parametrize("tokenizer", ["char", "byte", "word"])
@pytest.mark.parametrize("name", NAMED)
def test_named_files(tmp_path, name, tokenizer):
    trained = trains_or_answers(tmp_path, NAMED[name], "--tokenizer", tokenizer)
    if tokenizer in REFUSED:
        assert trained == (name not in REFUSED[tokenizer])


LETTERS = "aé漢🙂\n\u2028\u200d".encode()
ALPHABETS = [b"ab\n", b"a \n\r\t", bytes(range(256)), LETTERS, b"\0\x1b\xff\n", b"\xed\xa0\x80a\n"]


@pytest.mark.parametrize("count", [150, pytest.param(5000, marks=pytest.mark.full)])
def test_random_files(tmp_path, count):
    rng = random.Random(count)
    trained = 0
    for number in range(count):
        letters = rng.choice(ALPHABETS)
        content = bytes(rng.choice(letters) for _ in range(int(10 ** rng.uniform(0, 3.3))))
        trained += trains_or_answers(tmp_path, content, "--tokenizer", ("char", "byte", "word")[number % 3])
    assert 0.2 * count < trained < 0.95 * count


def assert_comes_back(text, known):
    assert known.decode(known.encode(text).tolist()) == text
    assert not (known.encode(text) == UNK).any()
    encoded = ByteTokenizer().encode(text)
    assert ByteTokenizer().decode(encoded.tolist()) == text
    assert (encoded - 2).astype("uint8").tobytes() == text.encode()


@settings(max_examples=1_000)
@given(st.text())
def test_what_was_encoded_comes_back(text):
    assert_comes_back(text, CharTokenizer(sorted(set(text))))


def drawn_text(rng, most=30):
    """Return up to 30 characters of a script, or of all Unicode; half of a pair is none."""
    low, high = rng.choice([(0, 0x80), (0, 0x250), (0x370, 0x1000), (0x3000, 0xD800), (0xE000, 0x110000)])
    return "".join(map(chr, (rng.randrange(low, high) for _ in range(rng.randrange(most + 1)))))


@pytest.mark.full
@pytest.mark.parametrize("part", range(4))
def test_a_million_texts_come_back(part):
    """A quarter of them each. A hundred share a vocabulary, as making one takes longer than its use."""
    rng = random.Random(part)
    for _ in range(2_500):
        texts = [drawn_text(rng) for _ in range(100)]
        known = CharTokenizer(sorted(set("".join(texts))))
        for text in texts:
            assert_comes_back(text, known)


LABELLED = "cat\tThe cat sat on the mat.\ndog\tA dog, which ran, barked.\n"
TAGGED = "The\tO\ncat\tB-x\n\nA\tO\nblack\tI-x\ndog\tI-x\n.\tO\n\n"
TASKS = {  # lines to learn, and how
    "lm": (PROSE, [*SMALL, "--sequences", "document"]),
    "classify": (
        LABELLED,
        ["--task", "classify", "--hidden", "8", "--embedding", "4", "--steps", "5"],
    ),
    "labelled": (
        LABELLED,
        ["--labels", "tab", "--hidden", "8", "--embedding", "4", "--steps", "5", "--counts", "2"],
    ),
    "tag": (TAGGED, ["--task", "tag", "--hidden", "8", "--embedding", "4", "--steps", "5"]),
    "convert": (
        LABELLED,
        ["--task", "convert", "--hidden", "8", "--embedding", "4", "--steps", "5"],
    ),
}
LONGEST = {
    "tag": 1.5,
    "labelled": 12,
    "classify": 15,
    "convert": 5,
}  # megabytes, where reading takes long


def peak_of_training(tmp_path, megabytes, task):
    """Return the peak memory in MiB of a process that trains for a few steps on a text of so many megabytes."""
    path, (lines, options) = tmp_path / f"{megabytes}.txt", TASKS[task]
    with path.open("w") as file:
        for _ in range(round(10 * megabytes)):
            file.write(lines * (10**5 // len(lines)))
    return peak_of("train", path, "-m", tmp_path / str(megabytes), *options, "--valid-fraction", "0")


def peak_of(*arguments):
    script = "from charlm.cli import main\ntry: main()\nfinally: print(open('/proc/self/status').read())"
    command = [sys.executable, "-c", script, *map(str, arguments), "-q", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) / 1024


@pytest.mark.parametrize("megabytes", [40, pytest.param(1000, marks=pytest.mark.full)])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell the peak memory so")
@pytest.mark.parametrize("task", TASKS)
def test_memory_does_not_grow_with_the_corpus(tmp_path, megabytes, task):
    megabytes = min(megabytes, LONGEST.get(task, megabytes))
    assert peak_of_training(tmp_path, megabytes, task) - peak_of_training(tmp_path, 0.5, task) < 10


@pytest.mark.parametrize("megabytes", [5, pytest.param(100, marks=pytest.mark.full)])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell the peak memory so")
def test_counting_takes_bounded_memory_of_a_text_whose_n_grams_are_all_new(tmp_path, megabytes):
    rng = np.random.default_rng(0)
    with (tmp_path / "new.txt").open("wb") as file:
        for _ in range(megabytes):
            file.write(rng.integers(ord("0"), ord("0") + 60, (10**4, 100), np.uint8).tobytes())
    given = ["train", tmp_path / "new.txt", *SMALL, "--sequences", "document"]
    peaks = [peak_of(*given, "-m", tmp_path / f"m{order}", "--counts", order) for order in (0, 8)]
    assert peaks[1] - peaks[0] < 150
