"""`charlm predict`: an answer a line, the same from everywhere, whatever stands beside a text."""

import csv
import io
import itertools
import json
import os
import subprocess
import sys

import pytest

import charlm
from charlm import checkpoint
from charlm.nn import kernel
from charlm.text.tokenizers import ByteTokenizer
from tests.test_commands import ROOT, assert_refused, started
from tests.test_commands import charlm as run
from tests.tiny import tiny_classifier, tiny_model

NAMES = ("no", "yes", "maybe")
LINES = ["abba", "", "ca\tb", "bbb", "a?", "cab" * 20, "b", "a\\n"]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Return a directory with classifiers and a language model."""
    path = tmp_path_factory.mktemp("models")
    tiny_classifier(bidirectional=True, pool="attention", longest=30).save(path / "char")
    tiny_classifier(tokenizer=ByteTokenizer(), spread=1).save(path / "byte")
    tiny_classifier(hidden=96, pool="max", bidirectional=True, spread=0.7).save(path / "wide")
    tiny_model("abc").save(path / "language")
    return path


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


def objects(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_answer_a_line_in_the_order_of_the_input(room, lines):
    result = run("predict", "-m", room / "char", "--file", lines)
    rows = [line.split("\t", 2) for line in result.stdout.splitlines()]
    assert [text for _, _, text in rows] == LINES
    model = charlm.load(room / "char")
    for label, p, text in rows:
        (best, expected), *_ = model.probabilities(text).items()
        assert (label, p) == (best, f"{expected:.4f}")
    assert result.stderr == "charlm: 1 of 8 texts was longer than 30 tokens and was cut there\n"


def test_json_has_what_python_has(room, lines):
    found = objects(run("predict", "-m", room / "char", "--file", lines, "--json", "--top", 2))
    for values, answer in zip(found, charlm.load(room / "char").predict(LINES, top=2), strict=True):
        assert values == {
            "text": answer.text, "label": answer.label, "probability": answer.probability,
            "labels": [{"label": label, "probability": p} for label, p in answer.labels],
            "unknown": answer.unknown, "cut": answer.cut,
        }  # fmt: skip
    assert [values["unknown"] for values in found] == [0, 0, 1, 0, 1, 0, 0, 2]
    assert [values["cut"] for values in found] == [False] * 5 + [True] + [False] * 2
    assert all(len(values["labels"]) == 2 for values in found)
    edge = objects(run("predict", "-m", room / "char", "--json", "a" * 30, "a" * 31))
    assert [values["cut"] for values in edge] == [False, True]


def test_tsv_says_what_json_says(room, lines):
    options = ["-m", room / "char", "--file", lines, "--top", 9, "--threshold", 0.3]
    expected = objects(run("predict", *options, "--json"))
    table = csv.reader(io.StringIO(run("predict", *options, "--tsv").stdout), delimiter="\t")
    header, *rows = table
    assert header == [
        "label",
        "probability",
        "label_2",
        "probability_2",
        "label_3",
        "probability_3",
        "text",
    ]
    assert [row[-1] for row in rows] == [
        line.replace("\\", "\\\\").replace("\t", "\\t") for line in LINES
    ]
    for row, values in zip(rows, expected, strict=True):
        pairs = [
            str(value) for one in values["labels"] for value in (one["label"], one["probability"])
        ]
        assert row[:-1] == pairs + ["NA"] * (6 - len(pairs))
        assert all(one["probability"] >= 0.3 for one in values["labels"])
    assert any("NA" in row for row in rows)


def test_a_threshold_that_no_label_reaches(room):
    options = ["-m", room / "char", "--threshold", 1, "--top", 2, "ab", ""]
    assert run("predict", *options).stdout == "-\t-\t-\t-\tab\n-\t-\t-\t-\t\n"
    assert run("predict", *options, "--tsv").stdout.splitlines()[1:] == [
        "NA\tNA\tNA\tNA\tab",
        "NA\tNA\tNA\tNA\t",
    ]
    nothing = {"label": None, "probability": None, "labels": [], "unknown": 0, "cut": False}
    assert objects(run("predict", *options, "--json")) == [
        {"text": text} | nothing for text in ("ab", "")
    ]


def test_the_same_from_arguments_a_file_stdin_and_shards(room, lines):
    whole = run("predict", "-m", room / "char", "--json", "--", *LINES).stdout
    assert run("predict", "-m", room / "char", "--json", "--file", lines).stdout == whole
    assert (
        run("predict", "-m", room / "char", "--json", "-", stdin=lines.read_bytes()).stdout == whole
    )
    parts = [
        run(
            "predict", "-m", room / "char", "--json", "--file", lines, "--shard", f"{k}/3"
        ).stdout.splitlines()
        for k in (1, 2, 3)
    ]
    assert [part.pop(0) for k in range(8) for part in [parts[k % 3]]] == whole.splitlines()


def test_texts_beside_it_change_rounding_at_most(room, lines):
    """Whatever computes."""
    together = objects(run("predict", "-m", room / "wide", "--file", lines, "--json", "--top", 3))
    for text, values in zip(LINES, together, strict=True):
        (alone,) = objects(run("predict", "-m", room / "wide", "--json", "--top", 3, "--", text))
        for one, other in zip(values["labels"], alone["labels"], strict=True):
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_does_not_matter_which_texts_stand_beside_it(room, tmp_path, threads):
    """To the digit where the compiled loops serve: alone, among many, in another order, on one thread and on two."""
    if kernel.missing:
        pytest.skip(f"without the compiled loops the same to rounding only: {kernel.missing}")
    texts = ["".join("abc"[k * k // 7 % 3] for k in range(n * 7 % 90)) for n in range(300)]
    (tmp_path / "texts").write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "turned").write_text("".join(f"{text}\n" for text in reversed(texts)))
    options = ["-m", room / "wide", "--json", "--top", 3, "--threads"]
    together = run("predict", *options, threads, "--file", tmp_path / "texts").stdout.splitlines()
    assert (
        run("predict", *options, threads, "--file", tmp_path / "turned").stdout.splitlines()
        == together[::-1]
    )
    for k in range(0, 300, 37):
        assert run("predict", *options, 1, texts[k]).stdout.splitlines() == [together[k]]


def test_a_model_of_bytes_reads_bytes(room, tmp_path):
    (tmp_path / "f").write_bytes(b"\xe9a\n\xc3\xa9\n")
    found = objects(run("predict", "-m", room / "byte", "--file", tmp_path / "f", "--json"))
    assert [values["text"] for values in found] == ["\udce9a", "é"]
    assert_refused(
        run("predict", "-m", room / "byte", "--file", tmp_path / "f", "--encoding", "cp1252"),
        2,
        "encoding",
    )
    assert_refused(
        run("predict", "-m", room / "char", "--file", tmp_path / "f"), 65, "not valid utf-8"
    )
    coded = run(
        "predict", "-m", room / "char", "--file", tmp_path / "f", "--encoding", "cp1252", "--json"
    )
    assert [values["text"] for values in objects(coded)] == ["éa", "Ã©"]


def test_stdin_is_answered_as_it_pauses(room):
    with started("predict", "-m", room / "char", "-", stdin=subprocess.PIPE) as process:
        for text in (b"ab", b"", b"ca"):
            process.stdin.write(text + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().split(b"\t")[2] == text + b"\n"
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_closed_pipe_leaves_no_trace(room, tmp_path):
    (tmp_path / "many").write_bytes(b"ab\n" * 50_000)
    with started("predict", "-m", room / "char", "--file", tmp_path / "many") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_texts_that_look_like_something_else(room, lines, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        run("predict", "-m", room / "char", "--", "-a", "-").stdout.splitlines()[1].endswith("\t-")
    )
    assert_refused(run("predict", "-m", room / "char", "-a"), 2, "charlm predict -- TEXT")
    assert_refused(run("predict", "-m", room / "char", "-", "a"), 2, "standard input")
    hinted = run("predict", "-m", room / "char", "lines.txt")
    assert hinted.stderr == (
        "charlm: taken as a text, but a file has this name: lines.txt; --file reads a file\n"
    )
    assert hinted.stdout.endswith("\tlines.txt\n")
    assert run("predict", "-m", room / "char", "a\nb\x1b\tc").stdout.endswith("\ta␊b␛\tc\n")
    assert run("predict", "-m", room / "char", "--tsv", "a\nb\x1b\tc").stdout.endswith(
        "\ta\\nb\\x1b\\tc\n"
    )


@pytest.mark.parametrize(("options", "words"), [
    ([], ["give texts to label"]),
    (["a", "--file", "b"], ["give texts to label"]),
    (["a", "--shard", "1/2"], ["leave --shard out"]),
    (["a", "--encoding", "cp1252"], ["leave --encoding out"]),
    (["a", "--json", "--tsv"], ["--json and --tsv"]),
    (["a", "--top", "0"], ["top must be 1 or more"]),
    (["a", "--threshold", "1.5"], ["threshold must be a probability"]),
    (["a", "--threshold", "nan"], ["threshold must be a probability"]),
    (["a", "--threads", "0"], ["threads"]),
    (["-", "--shard", "3/2"], ["shard must be I/N"]),
])  # fmt: skip
def test_what_does_not_go_together(room, options, words):
    assert_refused(run("predict", "-m", room / "none", *options), 2, *words)


def test_models_and_files_that_cannot_be_used(room, tmp_path):
    for command in (["predict", "a"], ["test", "gold"]):
        told = run(*command, "-m", room / "language")
        assert_refused(told, 2, "is a language model", "charlm score")
        assert_refused(run(*command, "-m", room / "none"), 66, "no model at")
    assert_refused(run("sample", "-m", room / "char"), 2, "task classify", "charlm predict")
    assert_refused(run("predict", "-m", room / "char", "--file", tmp_path / "none"), 66, "none")
    broken = tmp_path / "broken"
    broken.write_bytes((room / "char").read_bytes()[:-1])
    assert_refused(run("predict", "-m", broken, "a"), 65, "broken")


WRONG = {
    "names": [None, "no", ["no", "no", "yes"], ["no"], ["no", "", "yes"], [1, 2, 3]],
    "counts": [None, 3, [1, 2], [1, 2, -1], [1, 2, 1.5], [True, 1, 1]],
    "labels": [None, "there", 3],
    "pool": [None, "median", 1],
    "max_length": [None, 0, -1, "9", 1.5, True],
    "balance": [None, 0, "yes"],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_file_says_of_its_labels_is_checked(room, tmp_path, name):
    path = tmp_path / "m.safetensors"
    tensors, metadata = checkpoint.load(room / "char")
    for value in WRONG[name]:
        classes = json.loads(metadata["charlm.classes"]) | {name: value}
        checkpoint.save(path, tensors, metadata | {"charlm.classes": json.dumps(classes)})
        for command in (
            ["predict", "a"],
            ["test", path],
            ["info"],
            ["score", "a", "--label", "no"],
        ):
            assert_refused(run(*command, "-m", path), 65, "m.safetensors")


def test_a_task_of_a_later_charlm_is_refused_politely(room, tmp_path):
    path = tmp_path / "m.safetensors"
    tensors, metadata = checkpoint.load(room / "char")
    checkpoint.save(path, tensors, metadata | {"charlm.task": "dream"})
    for command in (["predict", "a"], ["test", path], ["info"], ["score", "a"]):
        assert_refused(run(*command, "-m", path), 65, "'dream'", "update charlm")


def test_the_environment_names_the_model(room):
    assert run("predict", "a", env={"CHARLM_MODEL": str(room / "char")}).stdout == (
        run("predict", "-m", room / "char", "a").stdout
    )


def test_texts_without_end_are_answered(room):
    """No more of them are held than fit a window, so memory does not grow with the input."""
    read = []

    def endless():
        for k in itertools.count():
            read.append(k)
            yield "ab" * (k % 5)

    answers = charlm.load(room / "char", threads=1).predict(endless())
    furthest = max(len(read) - k for k, _ in enumerate(itertools.islice(answers, 9000)))
    assert furthest <= 4096


def test_a_pipe_of_a_large_file_is_answered_before_its_end(room):
    read, write = os.pipe()
    command = [
        sys.executable,
        "-m",
        "charlm",
        "predict",
        "-m",
        str(room / "char"),
        "--file",
        f"/dev/fd/{read}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[read]) as process:
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            pipe.write(b"ab\n" * 5000)
            pipe.flush()
            assert process.stdout.readline().endswith(b"\tab\n")
        assert process.stdout.read().count(b"\n") == 4_999


def test_the_readmes_commands_run(tmp_path):
    """As they stand there, but for two steps of training."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("### Classes: a label for a text\n")[1].split("\n### ")[0]
    commands = [line[2:] for line in section.splitlines() if line.startswith("$ ")]
    assert [command.split()[1] for command in commands[1:]] == ["train", "predict", "test", "score"]
    script = "\n".join(["set -e", f'charlm() {{ {sys.executable} -m charlm "$@"; }}', *commands])
    (tmp_path / "data").symlink_to(ROOT / "data")
    done = subprocess.run(
        ["bash", "-c", script.replace("--epochs 15", "--steps 2")],
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Who has the key?\n" in done.stdout
    code = section.split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_python_names():
    model = tiny_classifier()
    assert isinstance(model, charlm.Classifier)
    (answer,) = model.predict(["ab"])
    assert isinstance(answer, charlm.Answer)
    assert repr(model) == "<Classifier of 3 labels: no, yes, maybe>"
