"""The command line as people use it: products on stdout, one-line errors on stderr, documented exit codes."""

import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from charlm import checkpoint
from charlm.cells import CELLS
from charlm.cli import main
from charlm.cli.base import visible
from charlm.directory import Directory
from charlm.errors import BusyError, StorageError
from charlm.settings_file import to_toml

ROOT = Path(__file__).parents[1]
LINES = "".join(f"{a}{b}{a}{c}\n" for a in "abcd" for b in "efgh" for c in "ijk") * 3
SMALL = ["--hidden", "8", "--embedding", "4", "--batch-size", "4", "--seq-len", "8", "--steps", "5", "--threads", "1"]


def charlm(*arguments, stdin=None, env=None):
    """Run the command in this process; return click's result, with stdout and stderr apart."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def started(*arguments, **options):
    """Start the command as a process of its own."""
    command = [sys.executable, "-m", "charlm", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, **options)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(LINES)
    return path


@pytest.fixture
def model(tmp_path, corpus):
    assert charlm("train", corpus, "-m", tmp_path / "model", *SMALL).exit_code == 0
    return tmp_path / "model"


def assert_refused(result, code, *words):
    """Check a failure: its code, nothing on stdout, one line that says what and where."""
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("charlm: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert str(word) in result.stderr


# --- what works -----------------------------------------------------------------------------------------------------


def test_train_then_look_write_and_score(model, corpus):
    assert {path.name for path in model.iterdir()} >= {
        "model.safetensors", "resume.safetensors", "log.jsonl", "config.toml",
    }  # fmt: skip
    facts = json.loads(charlm("info", "-m", model, "--json").stdout)
    assert (facts["cell"], facts["hidden"], facts["vocabulary"], facts["corpus"]) == ("gru", 8, 13, ["corpus.txt"])
    assert "gru" in charlm("info", "-m", model).stdout

    samples = [json.loads(line) for line in charlm("sample", "-m", model, "-n", 3, "--json").stdout.splitlines()]
    assert len(samples) == 3
    assert all({"text", "tokens", "logprob", "ended", "ids"} <= sample.keys() for sample in samples)
    assert len(charlm("sample", "-m", model, "-n", 4, "--length", 9).stdout.splitlines()) == 4

    result = charlm("score", "-m", model, "aeai", "zzz", "--json", "--per-token")
    scores = [json.loads(line) for line in result.stdout.splitlines()]
    keys = {"text", "logprob", "tokens", "unknown", "perplexity", "perplexity_known", "bits_per_char", "per_token"}
    assert all(keys <= score.keys() for score in scores)
    assert [score["text"] for score in scores] == ["aeai", "zzz"]
    assert scores[1]["unknown"] == 3
    assert scores[1]["bits_per_char"] is None
    fields = {"token", "id", "logprob", "bits", "rank", "unknown", "alternatives"}
    assert [token.keys() == fields for token in scores[0]["per_token"]] == [True] * 5
    assert sum(token["logprob"] for token in scores[0]["per_token"]) == pytest.approx(scores[0]["logprob"])
    assert result.stderr.startswith("total of 2 texts")


def test_a_seed_repeats_a_text(model):
    first = charlm("sample", "-m", model, "--seed", 7).stdout
    assert first == charlm("sample", "-m", model, "--seed", 7).stdout
    assert first != charlm("sample", "-m", model, "--seed", 8).stdout


def test_the_same_texts_score_the_same_from_everywhere(tmp_path, model):
    texts = ["aeai", "bfbj", "cgck"]
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(texts) + "\n")
    by_argument = charlm("score", "-m", model, *texts, "--json").stdout
    assert by_argument == charlm("score", "-m", model, "-", "--json", stdin=path.read_bytes()).stdout
    assert by_argument == charlm("score", "-m", model, "--file", path, "--json").stdout
    packed = tmp_path / "texts.txt.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert by_argument == charlm("score", "-m", model, "--file", packed, "--json").stdout


def test_the_reported_validation_figure_can_be_had_again(model):
    log = [json.loads(line) for line in (model / "log.jsonl").read_text().splitlines()]
    best = min(entry["valid_nats"] for entry in log if entry["valid_nats"] is not None)
    score = json.loads(charlm("score", "-m", model, "--corpus", "valid", "--json").stdout)
    assert -score["logprob"] / score["tokens"] == pytest.approx(best, rel=1e-6)


def test_the_written_configuration_repeats_the_run(tmp_path, model):
    assert charlm("train", "--config", model / "config.toml", "-m", tmp_path / "again").exit_code == 0
    first, _ = checkpoint.load(model / "model.safetensors")
    again, _ = checkpoint.load(tmp_path / "again" / "model.safetensors")
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert (model / "config.toml").read_text() == (tmp_path / "again" / "config.toml").read_text()


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path, corpus):
    file = tmp_path / "settings.toml"
    file.write_text(f'corpus = ["{corpus}"]\nhidden = 5\nembedding = 6\nbatch-size = 3\nsteps = 1\ntie = false\n')
    env = {"CHARLM_TRAIN_EMBEDDING": "7", "CHARLM_TRAIN_BATCH_SIZE": "2"}
    assert charlm("train", "--config", file, "--batch-size", 4, "-m", tmp_path / "m", env=env).exit_code == 0
    resolved = tomllib.loads((tmp_path / "m" / "config.toml").read_text())
    assert (resolved["hidden"], resolved["embedding"], resolved["batch-size"]) == (5, 7, 4)


def test_the_environment_names_the_model(model):
    result = charlm("score", "aeai", "--json", env={"CHARLM_MODEL": str(model)})
    assert result.stdout == charlm("score", "-m", model, "aeai", "--json").stdout


def test_text_comes_from_stdin_and_packed_files(tmp_path, model, corpus):
    packed = tmp_path / "corpus.txt.gz"
    packed.write_bytes(gzip.compress(corpus.read_bytes()))
    same, _ = checkpoint.load(model / "model.safetensors")
    for name, path, stdin in (("p", packed, None), ("s", "-", corpus.read_bytes())):
        assert charlm("train", path, "-m", tmp_path / name, *SMALL, stdin=stdin).exit_code == 0
        tensors, _ = checkpoint.load(tmp_path / name / "model.safetensors")
        np.testing.assert_array_equal(tensors["head.weight"], same["head.weight"])


@pytest.mark.parametrize(("name", "content", "options"), [
    ("one line", "the only line of this file, which has no newline", []),
    ("bytes", bytes(range(256)) * 4, ["--tokenizer", "byte"]),
    ("chinese", "春眠不觉晓\n处处闻啼鸟\n" * 20, []),
    ("words", "the cat , which sat .\nthe dogs ran .\n" * 20, ["--tokenizer", "word"]),
    ("utf-16", "ein Text\nnoch ein Text\n".encode("utf-16") , ["--encoding", "utf-16"]),
], ids=lambda value: value if isinstance(value, str) and len(value) < 10 else "")  # fmt: skip
def test_texts_of_all_kinds_train_write_and_score(tmp_path, name, content, options):
    path = tmp_path / "text"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert charlm("train", path, "-m", tmp_path / "m", *SMALL, *options).exit_code == 0
    assert charlm("sample", "-m", tmp_path / "m", "--length", 20, "--seed", 1).stdout.endswith("\n")
    assert json.loads(charlm("score", "-m", tmp_path / "m", "晓 a", "--json").stdout)["tokens"] >= 1


def test_quiet_is_quiet_and_a_file_gets_no_escapes(tmp_path, corpus):
    assert charlm("train", corpus, "-q", "-m", tmp_path / "q", *SMALL).stderr == ""
    loud = charlm("train", corpus, "-m", tmp_path / "l", *SMALL).stderr
    assert "sequences: line" in loud
    assert "best valid" in loud
    assert not set(loud) & set("\r\x1b")


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "code", "words"), [
    (b"", 65, ["is empty"]),
    (b"a", 65, ["training part", "holds no token"]),
    (b"\n \n\n", 65, ["nothing but white space"]),
    (b"ab\xff\xfe\n" * 9, 65, ["offset 2", "not valid utf-8", "--tokenizer byte"]),
    (None, 66, ["cannot be read"]),
])  # fmt: skip
def test_corpora_that_cannot_be_used(tmp_path, content, code, words):
    path = tmp_path / "corpus.txt"
    if content is not None:
        path.write_bytes(content)
    assert_refused(charlm("train", path, "-m", tmp_path / "m"), code, *words)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(("options", "words"), [
    (["--hidden", "0"], ["hidden must be between 1"]),
    (["--dropout", "1"], ["dropout must be at least 0 and below 1"]),
    (["--steps", "5", "--minutes", "1"], ["one of epochs, steps and minutes"]),
    (["--cell", "tree"], ["'tree' is not one of"]),
    (["--bogus"], ["No such option", "--bogus"]),
    (["--tie", "--hidden", "8", "--embedding", "4"], ["tie needs embedding (4) and hidden (8)"]),
    (["--word-pattern", "("], ["word-pattern"]),
    (["--tokenizer", "word", "--word-pattern", "x*"], ["can match the empty string"]),
    (["--encoding", "klingon"], ["unknown encoding 'klingon'"]),
    (["--valid-fraction", "1"], ["leave nothing to train on"]),
    (["--resume", "--force"], ["--resume or --force"]),
])  # fmt: skip
def test_settings_that_cannot_be_used(tmp_path, corpus, options, words):
    assert_refused(charlm("train", corpus, "-m", tmp_path / "m", *options), 2, *words)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(("text", "code", "words"), [
    ("hiden = 5\n", 2, ["unknown settings: hiden"]),
    ("hidden = \n", 65, ["is not TOML"]),
    ("hidden = 'wide'\n", 2, ["hidden"]),
    (None, 66, ["No such file"]),
])  # fmt: skip
def test_configurations_that_cannot_be_used(tmp_path, corpus, text, code, words):
    path = tmp_path / "settings.toml"
    if text is not None:
        path.write_text(text)
    assert_refused(charlm("train", corpus, "--config", path, "-m", tmp_path / "m"), code, *words)


def test_nothing_is_overwritten_unasked(model, corpus):
    before = (model / "model.safetensors").read_bytes()
    assert_refused(charlm("train", corpus, "-m", model, *SMALL), 73, "--resume", "--force")
    assert_refused(charlm("train", corpus, "-m", model, "--force", "--hidden", "0"), 2)
    assert_refused(charlm("train", corpus.parent / "none", "-m", model, "--force"), 66)
    assert (model / "model.safetensors").read_bytes() == before
    assert charlm("train", corpus, "-m", model, "--force", *SMALL, "--seed", 1).exit_code == 0
    assert (model / "model.safetensors").read_bytes() != before


def test_a_directory_that_cannot_be_made(tmp_path, corpus):
    assert_refused(charlm("train", corpus, "-m", corpus / "m"), 73, "cannot write to")


def test_a_busy_directory_names_its_owner(tmp_path, corpus):
    with Directory(tmp_path / "m"):
        assert_refused(charlm("train", corpus, "-m", tmp_path / "m", *SMALL), 75, f"process {os.getpid()}")
        with pytest.raises(BusyError, match="in use by another trainer"):
            Directory(tmp_path / "m").__enter__()
    assert charlm("train", corpus, "-m", tmp_path / "m", *SMALL).exit_code == 0


def test_resuming_nothing_begins_anew_and_says_so(tmp_path, corpus):
    result = charlm("train", corpus, "-m", tmp_path / "m", "--resume", *SMALL)
    assert result.exit_code == 0
    assert "nothing to resume" in result.stderr


def test_models_that_cannot_be_used(tmp_path, model):
    for command in (["sample"], ["info"], ["score", "a"]):
        assert_refused(charlm(*command, "-m", tmp_path / "none"), 66, "no model at", "charlm train")
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert_refused(charlm("sample", "-m", model), 65, file)


def test_nothing_to_score_and_too_much(model):
    assert_refused(charlm("score", "-m", model), 2, "give texts to score")
    assert_refused(charlm("score", "-m", model, "a", "--file", "b"), 2, "give texts to score")
    assert_refused(charlm("score", "-m", model, "--file", "/none"), 66, "/none")
    wrong = charlm("score", "-m", model, "-", stdin=b"a\nb\xff\n")
    assert_refused(wrong, 65, "standard input", "offset 3", "--encoding")


def test_a_full_disk_is_one_line(tmp_path, corpus, monkeypatch):
    def full(*_):
        raise StorageError("model.safetensors: writing failed: No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    result = charlm("train", corpus, "-m", tmp_path / "m", *SMALL, "-q")
    assert_refused(result, 74, "No space left")


def test_an_unknown_prompt_is_named_and_used(model):
    result = charlm("sample", "-m", model, "--prompt", "aZ", "--seed", 1)
    assert result.exit_code == 0
    assert result.stdout.startswith("aZ")
    assert "'Z'" in result.stderr
    assert_refused(charlm("sample", "-m", model, "--prompt", "a\nb"), 2, "newline")


# --- processes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_a_resume_goes_on(tmp_path, corpus, number, code):
    settings = [*SMALL[:-4], "--steps", 100_000, "--log-every", 1, "--eval-every", 50]
    with started("train", corpus, "-m", tmp_path / "m", *settings) as process:
        for line in process.stderr:
            if b"valid" in line and b"step" in line:
                break
        process.send_signal(number)
        rest = process.stderr.read().decode()
    assert process.returncode == code
    assert "go on with: charlm train -m" in rest
    assert "Traceback" not in rest
    steps = [json.loads(line)["step"] for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    result = charlm("train", "-m", tmp_path / "m", "--resume", "--steps", steps[-1] + 3)
    assert result.exit_code == 0
    again = [json.loads(line)["step"] for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    assert again == list(range(1, steps[-1] + 4))


def test_a_closed_pipe_leaves_no_trace(model):
    with started("sample", "-m", model, "-n", 5000, "--length", 50) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_output_is_utf8_under_any_locale(tmp_path):
    path = tmp_path / "text"
    path.write_text("äöü\nßäö\n" * 20, encoding="utf-8")
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    with started("train", path, "-m", tmp_path / "m", *SMALL, env=env) as process:
        process.communicate()
    with started("score", "-m", tmp_path / "m", "äß", "--json", env=env) as process:
        out, _ = process.communicate()
    assert json.loads(out.decode("utf-8"))["text"] == "äß"


# --- documents ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", main.commands.values(), ids=main.commands)
def test_every_option_is_explained(command):
    shown = charlm(command.name, "--help").stdout
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert all(name in shown for name in parameter.opts)


def test_the_readme_has_the_two_commands_and_names_all_exit_codes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line for line in readme.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert "pytest" in commands[1]
    assert "pip install charlm" not in readme
    for code in (0, 1, 2, 65, 66, 73, 74, 75, 130, 143):
        assert re.search(rf"\b{code}\b", readme.split("## Exit codes")[1].split("##")[0])


def test_the_readmes_first_command_runs(tmp_path, monkeypatch):
    """All of it but the installation, with fewer steps."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    line = next(line for line in readme.splitlines() if line.startswith("python3 -m venv"))
    parts = [shlex.split(part) for part in line.split("&&") if part.strip().startswith("charlm ")]
    assert [part[1] for part in parts] == ["train", "sample", "score"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    for part in parts:
        result = charlm(*part[1:], *(["--steps", 3] if part[1] == "train" else []))
        assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_every_recipe_trains(tmp_path, corpus, path):
    """With two steps for its own limit: a flag goes before the file."""
    values, files = tomllib.loads(path.read_text()), [corpus]
    if values.get("labels") == "file":
        files.append(corpus.with_name("other.txt"))
        for file in files:
            file.write_text("".join(f"{file.stem}\n{line}\n\n" for line in LINES.splitlines()))
    elif "labels" in values:
        corpus.write_text("".join(f"{line[0]}\t{line}\n" for line in LINES.splitlines()))
    elif values.get("tags") == "characters":
        corpus.write_text("".join(f"{line}\t{line.upper()}\n" for line in LINES.splitlines()))
    elif values.get("task") == "convert":
        corpus.write_text("".join(f"{line}\t{line[::-1]}!\n" for line in LINES.splitlines()))
    elif values.get("task") == "tag":
        corpus.write_text("".join(f"{line}\tB-x\n.\tO\n\n" for line in LINES.splitlines()))
    kept = ["--min-count", 1] if values.get("tokenizer") == "word" else []
    result = charlm("train", *files, "--config", path, "-m", tmp_path / "m", "--steps", 2, *kept)
    assert result.exit_code == 0, result.stderr
    resolved = tomllib.loads((tmp_path / "m" / "config.toml").read_text())
    limits = {name: resolved.pop(name, None) for name in ("steps", "epochs", "minutes")}
    assert limits == {"steps": 2, "epochs": None, "minutes": None}
    assert all(resolved[name] == value for name, value in values.items() if name not in limits)


def test_two_limits_of_one_place_are_refused(tmp_path, corpus):
    (tmp_path / "both.toml").write_text("steps = 3\nminutes = 1.0\n")
    for more in (["--steps", 3, "--minutes", 1], ["--config", tmp_path / "both.toml"]):
        result = charlm("train", corpus, "-m", tmp_path / "m", *more)
        assert (result.exit_code, result.stderr) == (2, "charlm: give one of epochs, steps and minutes, not several\n")


# --- small parts ----------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), st.one_of(
    st.text(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans(),
    st.lists(st.text(), max_size=3), st.none(),
)))  # fmt: skip
def test_settings_survive_as_toml(settings):
    try:
        text = to_toml(settings).encode("utf-8").decode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate cannot be in a UTF-8 file at all
        return
    kept = {name.replace("_", "-"): value for name, value in settings.items() if value is not None}
    assert tomllib.loads(text) == kept


def test_control_characters_become_visible():
    assert visible("a\x1b[31m\x07\x7f\x85b\n") == "a␛[31m␇␡\ufffdb\n"
    assert visible("a\nb", keep="") == "a␊b"


def test_as_many_threads_compute_as_were_asked_for(tmp_path, corpus):
    for threads in (1, 3):
        result = charlm("train", corpus, "-m", tmp_path / f"m{threads}", *SMALL, "--threads", threads)
        assert re.search(rf"^training: .* {threads} threads? \(", result.stderr, re.MULTILINE)


@pytest.mark.parametrize("options", [
    ["--pattern", "[a-d].*"], ["--contains", "a"], ["--pattern", ".*", "--count", 3], ["--starts-with", "a"],
])  # fmt: skip
def test_the_seed_decides_texts_that_must_match(model, options):
    def written(seed):
        return charlm("sample", "-m", model, "--temperature", 2, "--seed", seed, *options).stdout

    assert written(1) == written(1)
    assert len({written(seed) for seed in range(6)}) > 3


def test_info_counts_the_parameters_of_all_tensors(tmp_path, corpus):
    for cell in CELLS:
        assert charlm("train", corpus, "-m", tmp_path / cell, *SMALL, "--cell", cell).exit_code == 0
        facts = json.loads(charlm("info", "-m", tmp_path / cell, "--json").stdout)
        tensors, _ = checkpoint.load(tmp_path / cell / "model.safetensors")
        gates, vectors, v = CELLS[cell].gates, len(CELLS[cell].vectors), facts["vocabulary"]
        weights = {name: value for name, value in tensors.items() if not name.startswith("counts.")}
        assert facts["parameters"] == sum(value.size for value in weights.values())
        assert facts["parameters"] == 4 * v + gates * 8 * (4 + 8 + 2) + vectors * 8 + 8 * v + v
