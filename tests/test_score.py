"""`charlm score` at the edges: one reader for all that is read, answers as lines come, options obeyed or refused."""

import bz2
import csv
import gzip
import io
import json
import lzma
import math
import os
import pty
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import charlm
from charlm.language import Language
from charlm.model import Model
from charlm.text.stream import Lines, open_lines
from charlm.text.tokenizers import ByteTokenizer
from tests.test_commands import ROOT, assert_refused
from tests.test_commands import charlm as run
from tests.tiny import tiny_model


def byte_model():
    model = tiny_model(list(map(chr, range(256))))
    return Model(model.engine, model.config, Language(ByteTokenizer(), "line", "sequence"), {"run": "test"})


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return the paths of a model of each kind of text."""
    room = tmp_path_factory.mktemp("models")
    made = {
        "char": tiny_model("abé\tc"),
        "word": tiny_model(["ab", "b", "é"], words=True),
        "document": tiny_model("abé\n", sequences="document"),
        "byte": byte_model(),
        "paragraph": tiny_model("abé\n", sequences="paragraph"),
    }
    for name, model in made.items():
        model.save(room / f"{name}.safetensors")
    return {name: room / f"{name}.safetensors" for name in made}


def objects(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- one reader -------------------------------------------------------------------------------------------------------

WINDOWS = b"\xef\xbb\xbfab b\r\n\r\nb\xc3\xa9\rb\r\na\tb"
FORMS = [[], ["--json"], ["--tsv"], ["--tsv", "--per-token"], ["--json", "--per-token"], ["--format", "kenlm"]]


@pytest.mark.parametrize("kind", ["char", "byte"])
@pytest.mark.parametrize(
    ("text", "told"),
    [(b"ab\rb\ra\r", True), (b"a\rb\rc\rd\n\n", True),
     (b"a\r\nb\r\na\r\n", False), (b"a\r\nb\rb\n", False), (b"", False)],
)  # fmt: skip
def test_lines_that_end_as_on_an_old_mac_are_told(models, kind, text, told):
    for form in (["--tsv"], ["-m", models["char"], "--json"]):
        found = run("score", "-m", models[kind], "-", *form, stdin=text)
        assert found.exit_code == 0
        assert ("charlm: standard input: more carriage returns alone than lines" in found.stderr) == told


@pytest.mark.parametrize("kind", ["char", "word", "document", "byte", "paragraph"])
@pytest.mark.parametrize("way", ["--lines", "--whole"])
def test_stdin_is_read_as_a_file_is(models, tmp_path, kind, way):
    file = tmp_path / "text"
    file.write_bytes(WINDOWS)
    for form in FORMS:
        given_file = run("score", "-m", models[kind], "--file", file, way, *form)
        stdin = run("score", "-m", models[kind], "-", way, *form, stdin=WINDOWS)
        assert stdin.exit_code == given_file.exit_code == 0
        assert stdin.stdout.replace('"-"', f'"{file}"').replace("\t-\n", f"\t{file}\n") == given_file.stdout
    expected = {"--lines": ["ab b", "", "bé\rb", "a\tb"], "--whole": ["ab b\n\nbé\rb\na\tb"]}[way]
    if kind == "byte":
        text = WINDOWS.decode()
        expected = text.split("\n") if way == "--lines" else [text]
    scorer = charlm.load(models[kind])
    found = objects(run("score", "-m", models[kind], "--file", file, way, "--json", "--per-token"))
    assert [each["text"] for each in found] == expected
    assert [each["logprob"] for each in found] == pytest.approx([float(scorer.score(text)) for text in expected])


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_packed_lines_are_unpacked_from_stdin_as_from_a_file(models, tmp_path, kind):
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        (tmp_path / "f").write_bytes(pack(b"ab\nb\n"))
        for source in (["-"], ["--file", tmp_path / "f", "--lines"], ["-", "--shard", "1/1"]):
            found = run("score", "-m", models[kind], *source, "--json", stdin=pack(b"ab\nb\n"))
            assert [each["text"] for each in objects(found)] == ["ab", "b"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1", "cp1252", "utf-8"])
def test_stdin_has_an_encoding(models, encoding):
    found = run("score", "-m", models["char"], "-", "--json", "--encoding", encoding, stdin="abé\nb\n".encode(encoding))
    assert [each["text"] for each in objects(found)] == ["abé", "b"]
    lists = "1\t-1\tabé\n1\t-2\tb\n".encode(encoding)
    found = run("score", "-m", models["char"], "-", "--nbest", "--json", "--encoding", encoding, stdin=lists)
    assert {each["text"] for each in objects(found)} == {"abé", "b"}


@pytest.mark.parametrize("encoding", ["undefined", "hex", "punycode", "none-such", "mbcs", "\0", ""])
def test_an_encoding_that_is_none_is_a_line(models, tmp_path, encoding):
    (tmp_path / "f").write_bytes(b"ab\n")
    for source in (["-"], ["--file", tmp_path / "f"], ["-", "--whole"], ["-", "--nbest"], ["--corpus", tmp_path / "f"]):
        refused = run("score", "-m", models["char"], *source, "--encoding", encoding, stdin=b"ab\n")
        if refused.exit_code == 65:
            continue  # one that exists, but has no such text
        assert_refused(refused, 2, "encoding")


def test_what_is_no_text_is_told_by_its_place(models, tmp_path):
    (tmp_path / "f").write_bytes(b"ab\nb\xff\n")
    for source in (["-"], ["--file", tmp_path / "f", "--lines"], ["-", "--nbest"], ["-", "--whole"]):
        refused = run("score", "-m", models["char"], *source, stdin=b"ab\nb\xff\n")
        assert_refused(refused, 65, "byte 0xff at offset 4 is not valid utf-8", "--encoding")


def test_the_first_list_keeps_its_name(models):
    lists = b"\xef\xbb\xbf1\t-3.5\tab\r\n1\t-3.1\tb\r\n"
    rows = run("score", "-m", models["char"], "--nbest", "-", stdin=lists).stdout.splitlines()
    assert sorted(row.split("\t")[0] for row in rows) == ["1", "1"]
    assert {row.split("\t")[4] for row in rows} == {"ab", "b"}


def test_bytes_count_characters_as_the_text_has_them(models, tmp_path):
    """bits_per_char of a file is over code points, as that of a text is; a byte that is no UTF-8 counts as one."""
    data = "aéé\n\u2028b".encode() + b"\xff\xc3"
    (tmp_path / "f").write_bytes(data)
    (whole,) = objects(run("score", "-m", models["byte"], "--file", tmp_path / "f", "--whole", "--json"))
    score = charlm.load(models["byte"]).score(data.decode("utf-8", "surrogateescape"))
    assert (score.characters, score.n_bytes) == (8, len(data))
    assert whole["bits_per_char"] == pytest.approx(score.bits_per_char)
    assert whole["bits_per_byte"] == pytest.approx(score.bits_per_byte)
    (tmp_path / "f").write_bytes(data := "aé\nbéé\n".encode())
    (corpus,) = objects(run("score", "-m", models["byte"], "--corpus", tmp_path / "f", "--json"))
    lines = [charlm.load(models["byte"]).score(line) for line in data.decode().splitlines()]
    assert corpus["bits_per_char"] == pytest.approx(sum(lines[1:], lines[0]).bits_per_char)


@given(st.lists(st.text("a\r\n\ufeffé\u2028 ")), st.integers(1, 3), st.integers(1, 3))
def test_lines_are_those_of_the_text_however_it_is_cut(pieces, first, step):
    """Whatever comes at once, and whatever share of the lines is asked for."""
    text = "".join(pieces)
    expected = text.split("\n")[: None if text and not text.endswith("\n") else -1]
    shard = min(first, step), step
    assert list(Lines(iter(pieces), lambda: False, shard)) == expected[shard[0] - 1 :: step]


# --- a line in, a score out -------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "charlm", "score", "-m"]


class Talk:
    """A process that is written to, and read from by lines; a test's time limit is its only clock."""

    def __init__(self, *arguments, stdin=subprocess.PIPE):
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.timer = threading.Timer(120, self.process.kill)
        self.timer.start()

    def say(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().decode()

    def end(self):
        if self.process.stdin:
            self.process.stdin.close()
        with self.process.stdout:
            rest = self.process.stdout.read().decode()
        assert self.process.wait() == 0
        self.timer.cancel()
        return rest


def test_each_line_is_answered_before_the_next(models):
    talk = Talk(models["char"], "-", "--json")
    for text in ("ab", "", "bé", "b"):
        talk.say(f"{text}\r\n".encode())
        assert json.loads(talk.hear())["text"] == text
    talk.say("abé".encode()[:3])  # within a character, and a line: no answer is due
    talk.say("abé".encode()[3:] + b"\nb\na")
    assert [json.loads(talk.hear())["text"] for _ in range(2)] == ["abé", "b"]
    assert json.loads(talk.end())["text"] == "a", "the last line needs no newline"


def test_the_other_forms_answer_too(models):
    table = Talk(models["char"], "-")
    table.say(b"ab\n")
    assert table.hear().split()[-1] == "text"
    assert table.hear().split()[-1] == "ab"
    table.say(b"b\n")
    assert table.hear().split()[-1] == "b"
    assert "total of 2 texts" in table.end()
    tokens = Talk(models["char"], "-", "--tsv", "--per-token")
    tokens.say(b"ab\n")
    assert [tokens.hear().split("\t")[1] for _ in range(4)] == ["token", "a", "b", "<eos>"]
    tokens.end()
    kenlm = Talk(models["char"], "-", "--format", "kenlm")
    kenlm.say(b"ab\n")
    assert kenlm.hear().startswith("Total: ")
    kenlm.end()


def test_lists_and_comparisons_answer_too(models):
    lists = Talk(models["char"], "--nbest", "-")
    lists.say(b"1\t0\tab\n1\t0\tb\n2\t0\tb\n")  # a list is over when the next begins
    assert sorted(lists.hear().split("\t")[4] for _ in range(2)) == ["ab\n", "b\n"]
    lists.end()
    both = Talk(models["char"], "-m", models["char"], "-", "--json")
    for text in ("ab", "b"):
        both.say(f"{text}\n".encode())
        assert json.loads(both.hear())["text"] == text
    assert "comparisons" in both.end()


def test_a_pipe_by_name_is_read_as_it_comes(models, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    talk = Talk(models["char"], "--file", tmp_path / "pipe", "--lines", "--json", "--shard", "2/2", stdin=None)
    with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
        pipe.write(b"a\nab\nb\n")
        assert json.loads(talk.hear())["text"] == "ab"
        pipe.write(b"b\n")
        assert json.loads(talk.hear())["text"] == "b"
    assert talk.end() == ""


def test_a_terminal_is_answered(models):
    ours, theirs = pty.openpty()
    talk = Talk(models["char"], "-", "--json", stdin=theirs)
    os.close(theirs)
    os.write(ours, b"ab\n")
    assert json.loads(talk.hear())["text"] == "ab"
    os.write(ours, b"\x04")  # the end, once
    assert talk.end() == ""
    os.close(ours)


def test_a_window_ends_where_the_texts_pause():
    """And not before: what is there is scored together."""
    pauses = iter([True, True, False, True, False])
    taken = []

    def texts():
        for text in ("a", "ab", "b", "ba", "b"):
            taken.append(text)
            yield text

    scores = tiny_model().scores(texts(), ready=lambda: next(pauses))
    assert [(next(scores).text, len(taken)) for _ in range(5)] == [("a", 3), ("ab", 3), ("b", 3), ("ba", 5), ("b", 5)]


def test_an_endless_pipe_is_read_no_further_than_a_window(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"\xef")
    lines = open_lines(f"/dev/fd/{reading}", "utf-8")
    assert not lines.ready(), "not even its byte order mark is whole"
    os.write(writing, b"\xbb\xbfab\nb")
    assert (lines.ready(), next(lines), lines.ready()) == (True, "ab", False)
    os.write(writing, b"a\r")
    assert not lines.ready()
    os.write(writing, b"\n\xc3")
    assert (lines.ready(), next(lines), lines.ready()) == (True, "ba", False)
    os.close(writing)
    with pytest.raises(charlm.errors.DataError, match="offset 10"):
        lines.ready()
    os.close(reading)


# --- valid for the next program ---------------------------------------------------------------------------------------


LINES = st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")), min_size=1, max_size=4)
ODD = [b"\xe9\\t\t", b"\r\x0b\x0c\x1c\x1d\x1e\xc2\x85\xe2\x80\xa8", b'"\x1b[2J\xc2\x9b', b"\x00\xed\xa0\x80"]


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def read_json(data):
    return [json.loads(line, parse_constant=refuse) for line in data.decode("utf-8").splitlines()]


@settings(max_examples=8)
@given(LINES)
@example(ODD)
def test_any_bytes_come_out_of_every_form(models, lines):
    data = [*lines, b"."]
    text = b"\n".join(data) + b"\n"
    texts = [line.decode("utf-8", "surrogateescape") for line in data]
    for more in ([], ["--per-token"]):
        shown = read_json(run("score", "-m", models["byte"], "-", "--json", *more, stdin=text).stdout_bytes)
        assert [each["text"] for each in shown] == texts
    out = run("score", "-m", models["byte"], "-", "--tsv", stdin=text).stdout_bytes
    rows = [row.split(b"\t") for row in out.split(b"\n")[1:-1]]
    assert len(out.decode("utf-8", "surrogateescape").splitlines()) == len(data) + 1
    assert {len(row) for row in rows} == {7}
    assert [unescaped(row[6]) for row in rows] == data
    tokens = run("score", "-m", models["byte"], "-", "--tsv", "--per-token", stdin=text).stdout_bytes
    assert {row.count(b"\t") for row in tokens.split(b"\n")[:-1]} == {5}
    words = run("score", "-m", models["byte"], "-", "--format", "kenlm", "--per-token", stdin=text).stdout_bytes
    totals = [line.split(b"\t") for line in words.split(b"\n")[: len(data)]]
    assert [len(line) - 2 for line in totals] == list(map(len, data)), "a field a byte, the end and the total"


def unescaped(field):
    """Undo the escapes of TSV, leaving every other byte alone."""
    text = field.decode("utf-8", "surrogateescape")
    ascii_only = "".join(c if ord(c) < 0x80 else f"\\U{ord(c):08x}" for c in text)
    return ascii_only.encode("ascii").decode("unicode_escape").encode("utf-8", "surrogateescape")


def test_what_the_command_line_has_of_bytes(models):
    for arguments in (["--json", "caf\udce9"], ["-m", models["char"], "--json", "caf\udce9"]):
        found = run("score", "-m", models["byte"], *arguments)
        assert read_json(found.stdout_bytes)[0]["text"] == "caf\udce9"


def test_tokens_with_tabs_are_columns_in_every_form(models):
    rows = run("score", "-m", models["char"], "--tsv", "--per-token", "a\tb").stdout.splitlines()
    assert [row.split("\t")[1] for row in rows[1:]] == ["a", "\\t", "b", "<eos>"]
    words = run("score", "-m", models["char"], "--format", "kenlm", "--per-token", "a\tb").stdout.splitlines()[0]
    assert [word.split("=")[0] for word in words.split("\t")[:-1]] == ["a", "\\t", "b", "</s>"]


@pytest.mark.parametrize("score", ["-1234567.5", "-123.4567891", "1e-7", "0.10", "inf"])
def test_lists_keep_the_other_score_as_it_is_written(models, score):
    for form in ([], ["--tsv"]):
        found = run("score", "-m", models["char"], "--nbest", "-", *form, stdin=f"u\t{score}\ta\n")
        assert found.stdout.splitlines()[-1].split("\t")[2] == score


def test_lists_keep_the_tabs_of_their_texts(models):
    """In the lists themselves the text is all that follows; TSV and JSON say it in their own ways."""
    lists = b"u\t-1\ta\tb\\\n"
    plain = run("score", "-m", models["char"], "--nbest", "-", stdin=lists).stdout
    assert plain.split("\t", 4)[4] == "a\tb\\\n"
    tsv = run("score", "-m", models["char"], "--nbest", "--tsv", "-", stdin=lists).stdout
    (row,) = csv.DictReader(io.StringIO(tsv), delimiter="\t", quoting=csv.QUOTE_NONE)
    assert row["text"] == "a\\tb\\\\"
    (shown,) = objects(run("score", "-m", models["char"], "--nbest", "--json", "-", stdin=lists))
    logprob = float(charlm.load(models["char"]).score("a\tb\\"))
    assert shown == {"list": "u", "total": pytest.approx(logprob - 1), "score": -1, "logprob": pytest.approx(logprob),
                     "text": "a\tb\\"}  # fmt: skip
    eos = run("score", "-m", models["char"], "--nbest", "--json", "--no-eos", "-", stdin=lists)
    assert objects(eos)[0]["logprob"] == pytest.approx(float(charlm.load(models["char"]).score("a\tb\\", eos=False)))
    for wrong in (b"u\tnan\ta\n", b"u\t\ta\n", b"u\t1\n", b"u"):
        assert_refused(run("score", "-m", models["char"], "--nbest", "-", stdin=wrong), 65, "line 1")


def test_half_a_character_is_written_as_what_it_is_not(models):
    """Some encodings can spell a lone surrogate, which UTF-8 has not."""
    for form in FORMS:
        found = run("score", "-m", models["char"], "-", *form, "--encoding", "unicode_escape", stdin=b"a\\ud800\n")
        assert found.exit_code == 0
        assert found.stdout_bytes.decode("utf-8")
    assert "\ufffd" in run("score", "-m", models["char"], "--tsv", "-", "--encoding", "unicode_escape",
                           stdin=b"a\\ud800\n").stdout  # fmt: skip


@pytest.mark.parametrize("tokens", ["a\ud800", "a\x1b"])
def test_odd_tokens_of_a_model_are_written(tmp_path, tokens):
    tiny_model(tokens).save(tmp_path / "m.safetensors")
    for form in FORMS:
        found = run("score", "-m", tmp_path / "m.safetensors", "-", "--per-token", *[part for part in form
                    if part != "--per-token"], stdin=b"a\x1b\n")  # fmt: skip
        assert found.exit_code == 0
        assert "\x1b" not in found.stdout


# --- a long text, token by token --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["char", "word", "document", "byte", "paragraph"])
@pytest.mark.parametrize("eos", ["--eos", "--no-eos"])
def test_the_tokens_of_a_file_are_those_of_its_text(models, tmp_path, kind, eos):
    """To the bit, in every form, over many chunks and blocks of it."""
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("ab b?é\n"), 700)) + "b"
    (tmp_path / "f").write_bytes(text.encode())
    (score,) = charlm.load(models[kind], threads=1).scores([text], eos == "--eos", per_token=True)
    options = ["-m", models[kind], "--file", tmp_path / "f", "--whole", "--per-token", eos]
    (shown,) = objects(run("score", *options, "--json"))
    assert shown["text"] == text
    assert [(each["token"], each["logprob"], each["rank"]) for each in shown["per_token"]] == [
        (token.token, token.logprob, token.rank) for token in score.per_token
    ]
    assert shown["logprob"] == pytest.approx(score.logprob, rel=1e-12)
    for name in ("tokens", "unknown"):
        assert shown[name] == getattr(score, name)
    for name in ("perplexity", "perplexity_known", "bits_per_char"):
        expected = getattr(score, name)
        assert shown[name] == (expected and pytest.approx(expected, rel=1e-12))
    rows = run("score", *options, "--tsv").stdout.splitlines()[1:]
    assert [float(row.split("\t")[2]) for row in rows] == [token.logprob for token in score.per_token]
    table = run("score", *options).stdout.splitlines()
    assert f"tokens           {score.tokens:,}, {score.unknown:,} unknown" in table[score.tokens + 1]
    kenlm = run("score", *options, "--format", "kenlm").stdout.split("\t")
    assert math.fsum(float(word.split(" ")[-1]) for word in kenlm[: score.tokens]) == pytest.approx(
        score.log10, rel=1e-5
    )


# --- options, obeyed or refused ---------------------------------------------------------------------------------------


@pytest.fixture
def place(models, tmp_path):
    (tmp_path / "f").write_text("ab\nb\n")
    return {"M": models["char"], "N": models["word"], "D": models["document"], "B": models["byte"], "F": tmp_path / "f"}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("a --lines", ["--lines needs a file"]),
        ("a --whole", ["--whole needs a file"]),
        ("a --shard 1/2", ["--shard needs lines"]),
        ("a --encoding utf-8", ["--encoding needs bytes to read"]),
        ("- --whole --shard 1/2", ["--shard needs lines"]),
        ("--file F --whole --shard 1/2", ["--shard needs lines"]),
        ("-m D --file F --shard 1/2", ["shard needs lines"]),
        ("--corpus F --shard 1/2", ["--shard needs lines"]),
        ("--corpus F --lines", ["--lines needs a file"]),
        ("--corpus F --whole", ["--whole needs a file"]),
        ("--corpus F --per-token", ["--corpus and --per-token"]),
        ("--corpus F --nbest", ["--corpus and --nbest"]),
        ("--corpus valid --encoding latin-1", ["--encoding needs bytes to read"]),
        ("-m B - --encoding latin-1", ["reads them as they are"]),
        ("-m B --file F --encoding latin-1", ["reads them as they are"]),
        ("-m B --corpus F --encoding latin-1", ["reads them as they are"]),
        ("a --weight 2", ["--weight needs --nbest"]),
        ("- --nbest --weight nan", ["weight must be a finite number"]),
        ("- --nbest --weight inf", ["weight must be a finite number"]),
        ("- --nbest --per-token", ["--nbest and --per-token"]),
        ("- --nbest --whole", ["--nbest and --whole"]),
        ("- --nbest --shard 1/2", ["--nbest and --shard"]),
        ("- --nbest --format kenlm", ["no kenlm"]),
        ("- --nbest --format table", ["no table"]),
        ("a --device cpu", ["--device needs --engine torch"]),
        ("a --mix 1", ["--mix needs several models"]),
        ("a --known", ["--known needs models to compare"]),
        ("a -m M --mix 0.5,0.5 --known", ["--known needs models to compare"]),
        ("a -m M --mix 0.5,0.5 --per-token", ["--mix and --per-token"]),
        ("--corpus F -m M --mix 0.5,0.5 --dynamic", ["--mix and --dynamic"]),
        ("--corpus F -m M --mix 0.5,0.5 --cache", ["--mix and --cache"]),
        ("a -m M --tsv", ["not as tsv"]),
        ("a -m M --format tsv", ["not as tsv"]),
        ("a -m M --format kenlm", ["not as kenlm"]),
        ("a -m M --per-token", ["several models and --per-token"]),
        ("- -m M --nbest", ["several models and --nbest"]),
        ("a -m M --weight 2", ["--weight needs --nbest"]),
        ("a --json --tsv", ["one of --json, --tsv and --format"]),
        ("a --json --format kenlm", ["one of --json, --tsv and --format"]),
        ("a --tsv --format table", ["one of --json, --tsv and --format"]),
        ("a --dynamic", ["--dynamic needs one long text"]),
        ("--file F --cache", ["--cache needs one long text"]),
        ("--file F --count-cache", ["--count-cache needs one long text"]),
        ("--corpus F --cache --engine torch", ["--cache and --engine torch"]),
        ("a -", ["- means standard input and stands alone"]),
        ("- -- a", ["- means standard input and stands alone"]),
        ("a --file F", ["give texts to score"]),
        ("- --corpus F", ["give texts to score"]),
        ("--file F --corpus F", ["give texts to score"]),
        ("--file ''", ["empty"]),
        ("--corpus ''", ["empty"]),
        ("a -m ''", ["empty"]),
    ],
)
def test_what_cannot_be_obeyed_is_refused_by_name(place, command, words):
    parts = ["" if part == "''" else place.get(part, part) for part in command.split()]
    own = [] if "-m B" in command or "-m D" in command else ["-m", place["M"]]
    assert_refused(run("score", *own, *parts, stdin=b"ab\n"), 2, *words)


@pytest.mark.parametrize("sequences", ["line", "document"])
def test_the_end_of_a_corpus_counts_as_asked(tmp_path, sequences):
    tiny_model("ab\n" if sequences == "document" else "ab", sequences=sequences).save(tmp_path / "m.safetensors")
    (tmp_path / "f").write_text("ab\nb\n")
    options = ["-m", tmp_path / "m.safetensors", "--json"]
    shown = {}
    for eos in ([], ["--eos"], ["--no-eos"]):
        (corpus,) = objects(run("score", *options, "--corpus", tmp_path / "f", *eos))
        texts = objects(run("score", *options, "--file", tmp_path / "f", *eos))
        assert corpus["logprob"] == pytest.approx(sum(text["logprob"] for text in texts))
        assert corpus["tokens"] == sum(text["tokens"] for text in texts)
        shown[tuple(eos)] = corpus["logprob"]
    assert shown[()] == shown[("--eos",) if sequences == "line" else ("--no-eos",)]
    assert shown["--eos",] < shown["--no-eos",]
    for adapting in ("--cache", "--dynamic", "--count-cache"):
        table = run("score", *options[:2], "--corpus", tmp_path / "f", adapting).stdout.splitlines()
        assert table[0].startswith(f"scored           {tmp_path / 'f'}, "), "how it was scored is said in every form"
        both = [objects(run("score", *options, "--corpus", tmp_path / "f", adapting, eos))[0]["tokens"]
                for eos in ("--eos", "--no-eos")]  # fmt: skip
        assert both[0] - both[1] == (2 if sequences == "line" else 1)


# --- texts that look like something else ------------------------------------------------------------------------------


def test_dashes(models):
    assert_refused(run("score", "-m", models["char"], "-5 C"), 2, "No such option", "comes after --")
    assert_refused(run("score", "-m", models["char"], "--ab is a text"), 2, "comes after --")
    expected = [float(charlm.load(models["char"]).score(text)) for text in ("-5 C", "-", "--json")]
    found = run("score", "-m", models["char"], "--json", "--", "-5 C", "-", "--json", stdin=b"ab\n")
    assert [each["logprob"] for each in objects(found)] == pytest.approx(expected)
    (alone,) = objects(run("score", "-m", models["char"], "--json", "--", "-", stdin=b"ab\n"))
    assert (alone["text"], alone["logprob"]) == ("-", pytest.approx(expected[1]))
    (stdin,) = objects(run("score", "-m", models["char"], "--json", "-", stdin=b"ab\n"))
    assert stdin["text"] == "ab"
    assert "--" in run("score", "--help").stdout.split("Examples:")[1]


def test_a_text_that_names_a_file_is_scored_with_a_hint(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ab").write_text("b")
    (tmp_path / "a").mkdir()
    for text in ("ab", "./ab", str(tmp_path / "ab")):
        found = run("score", "-m", models["char"], text, "--json")
        assert objects(found)[0]["text"] == text
        assert f"a file has this name: {text}; --file scores a file" in found.stderr
    for text in ("a", "b", "", "a\0b", "a" * 5000):
        assert "a file has this name" not in run("score", "-m", models["char"], text).stderr


def test_shares_of_unknown_tokens_are_told(models, tmp_path):
    (tmp_path / "f").write_text("ab\n??\n")
    assert "6, 2 unknown (33.3 %)" in run("score", "-m", models["char"], "--corpus", tmp_path / "f").stdout
    assert "2 unknown (33.3 %)" in run("score", "-m", models["char"], "--corpus", tmp_path / "f", "--json").stderr
    assert "texts, 33.3 % of the tokens unknown" in run("score", "-m", models["char"], "ab", "??").stdout
    assert "unknown (33.3 %)" in run("score", "-m", models["char"], "--tsv", "ab", "??").stderr


def test_the_readmes_recipe_keeps_lines_as_they_are(models, tmp_path):
    """Every line that is probable enough comes back byte for byte, whatever is in it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (recipe,) = [line for line in readme.splitlines() if "< crawl.txt" in line]
    lines = [b"ab", b"\xe9\\t\t\\", b"", b'"a', b"a\r", b"\x85\xe2\x80\xa8b", b"b\x0c", b"NA"]
    (tmp_path / "crawl.txt").write_bytes(b"".join(line + b"\n" for line in lines))
    scorer = charlm.load(models["byte"])
    perplexities = sorted(scorer.perplexity(line.decode("utf-8", "surrogateescape")) for line in lines)
    recipe = recipe.replace("charlm score", f"{sys.executable} -m charlm score -m {models['byte']}")
    limit = (perplexities[3] + perplexities[4]) / 2
    command = recipe.replace("< 8", f"< {limit!r}")
    assert command != recipe
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    kept = [line for line in lines if scorer.perplexity(line.decode("utf-8", "surrogateescape")) < limit]
    assert (tmp_path / "kept.txt").read_bytes() == b"".join(line + b"\n" for line in kept)
    assert len(kept) == 4
