"""Paths as people mistype them: empty, a file for a directory, not there, and inputs that cannot be opened."""

import os

import click
import pytest

import charlm as library
from charlm import config
from charlm.cli import main
from charlm.directory import Directory
from charlm.errors import MissingInputError, OutputError, StorageError, UsageError
from charlm.runs import open_run
from charlm.text.corpus import prepare
from charlm.text.reading import check_file, open_file
from tests.test_commands import LINES, SMALL, assert_refused, charlm
from tests.tiny import tiny_model

NOT_PATHS = {  # what the options and arguments that are no paths hold
    "texts", "mix", "device", "shard", "encoding", "prompt", "stop", "starts_with", "contains", "pattern", "separator",
    "word_pattern", "source_pattern", "target_pattern", "label", "source", "explain text",
}  # fmt: skip
TEXTS = [
    pytest.param(command, parameter, id=f"{command.name} {parameter.name}")
    for command in main.commands.values()
    for parameter in command.params
    if not getattr(parameter, "is_flag", False)
    and not isinstance(parameter.type, click.Choice | click.types.IntParamType | click.types.FloatParamType)
    and NOT_PATHS.isdisjoint({parameter.name, f"{command.name} {parameter.name}"})
]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(LINES)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A run that is only read."""
    room = tmp_path_factory.mktemp("room")
    (room / "corpus.txt").write_text(LINES)
    assert charlm("train", room / "corpus.txt", "-m", room / "m", *SMALL).exit_code == 0
    return room / "m"


def contents(directory):
    """Return the bytes of every file below a directory; None for a directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


@pytest.mark.parametrize(("command", "parameter"), TEXTS)
def test_an_empty_path_is_a_usage_error_everywhere(tmp_path, monkeypatch, model, command, parameter):
    """Every option and argument that takes a text is a path, unless NOT_PATHS has it."""
    monkeypatch.chdir(tmp_path)
    named = [parameter.opts[-1]] if isinstance(parameter, click.Option) else []
    arguments = [command.name, *([] if parameter.name in ("model", "models") else ["-m", model]), *named, ""]
    result = charlm(*arguments)
    assert_refused(result, 2, "it is empty", named[0] if named else parameter.make_metavar(click.Context(command)))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["corpus", "valid-file", "test-file", "init-from", "model"])
def test_an_empty_path_in_toml_is_a_usage_error(tmp_path, monkeypatch, corpus, name):
    monkeypatch.chdir(tmp_path)
    value = '[""]' if name == "corpus" else '""'
    (tmp_path / "settings.toml").write_text(f"{name} = {value}\n")
    before = contents(tmp_path)
    given = [] if name == "corpus" else [corpus]
    shown = "CORPUS" if name == "corpus" else name
    assert_refused(charlm("train", *given, "--config", "settings.toml"), 2, "it is empty", shown)
    assert contents(tmp_path) == before


def test_an_empty_name_after_an_at_sign(model):
    assert_refused(charlm("sample", "-m", model, "--prompt", "@"), 2, "--prompt @FILE")


@pytest.mark.parametrize("bad", ["", "a\0b"], ids=ascii)
def test_python_callers_are_told_too(tmp_path, monkeypatch, corpus, bad):
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    calls = [
        lambda: library.load(bad), lambda: Directory(bad), lambda: tiny_model().save(bad), lambda: open_file(bad),
        lambda: prepare([bad], config.TextConfig()),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(UsageError, match=r"path (is empty|has a NUL character)"):
            call()
    for given in ({"corpus": (bad,)}, *({"corpus": (str(corpus),), name: bad} for name in ("valid_file", "init_from"))):
        named = pytest.raises(UsageError, match="path|" + "|".join(given).replace("_", "-"))
        with Directory("m") as directory, named:
            open_run(directory, given)
    assert contents(tmp_path) == before


def test_an_empty_environment_variable_is_one_that_is_not_set(tmp_path, monkeypatch, corpus):
    monkeypatch.chdir(tmp_path)
    assert charlm("train", corpus, *SMALL, env={"CHARLM_MODEL": ""}).exit_code == 0
    assert (tmp_path / "charlm-model" / "model.safetensors").exists()


def test_a_model_named_by_the_environment_may_have_spaces(tmp_path, model):
    os.symlink(model, tmp_path / "my model")
    for command in (["score", "aeai"], ["info"]):
        assert charlm(*command, env={"CHARLM_MODEL": str(tmp_path / "my model")}).exit_code == 0


# --- -m ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "code"), [
    (["none.txt"], 66), (["--resume"], 2), ([], 2), (["corpus.txt", "--hidden", "0"], 2), (["empty.txt"], 65),
    (["corpus.txt", "--optimizer", "sgd", "--lr", "1e30", "--clip", "1e30", "--steps", "9",
      "--eval-every", "9", "--cell", "rnn", "--nonlinearity", "relu"], 1),
])  # fmt: skip
@pytest.mark.parametrize("there", [".", "a", "a/b"])
def test_a_mistyped_directory_leaves_nothing_behind(tmp_path, monkeypatch, corpus, there, arguments, code):
    """Only what charlm made goes again; what was there before stays, empty directories too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before = contents(tmp_path)
    for place in ("a/b/c", "a/b", "new/../other/m"):
        assert_refused(charlm("train", *arguments, "-m", place, "-q"), code)
        assert contents(tmp_path) == before


def test_a_file_is_no_directory_and_the_message_names_the_right_one(tmp_path, model, corpus):
    before = contents(model)
    for options in (["--resume"], [corpus], [corpus, "--force"]):
        result = charlm("train", *options, "-m", model / "model.safetensors")
        assert_refused(result, 73, "is a file", f"give its directory, -m {model}")
    assert_refused(charlm("train", corpus, "-m", corpus), 73, "cannot write to", "is a file")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert_refused(charlm("train", corpus, "-m", tmp_path / "link"), 73, "is a link to", "gone", "not there")
    assert contents(model) == before
    assert not (tmp_path / "gone").exists()


def test_a_model_without_a_state_is_told_the_way_that_works(tmp_path, model, corpus):
    """What the message proposes is then done."""
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    before = contents(alone)
    for given in ([], [corpus]):
        result = charlm("train", *given, "-m", alone, "--resume")
        assert_refused(result, 73, "has no resume.safetensors", f"--init-from {alone}", "another -m")
        assert "go on with --resume" not in result.stderr
        assert contents(alone) == before
    assert charlm("train", corpus, "--init-from", alone, "-m", tmp_path / "new", "--steps", 2).exit_code == 0


# --- inputs first -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    ["none.txt"], ["corpus.txt", "none.txt"], ["corpus.txt", "--valid-file", "none.txt"],
    ["corpus.txt", "--test-file", "corpus.txt/none"], ["corpus.txt", "--init-from", "none"],
    ["none.txt", "--force"], ["none.txt", "--resume"],
])  # fmt: skip
def test_input_is_looked_at_before_the_model_that_stands(monkeypatch, model, options):
    monkeypatch.chdir(model.parent)
    before = contents(model)
    assert_refused(charlm("train", *options, "-m", "m"), 66, "none")
    assert contents(model) == before


def test_a_standing_model_is_told_before_stdin_or_a_pipe_is_read(tmp_path, model):
    os.mkfifo(tmp_path / "pipe")
    for path in ("-", tmp_path / "pipe"):  # opening the pipe would wait for a writer
        assert_refused(charlm("train", path, "-m", model, stdin=b"abc\n" * 9), 73, "exists")


def test_a_failing_device_is_not_taken_for_a_missing_file(tmp_path, monkeypatch, corpus):
    def failing(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("charlm.text.reading.open", failing, raising=False)
        for call in (check_file, open_file):
            with pytest.raises(StorageError, match="Input/output error"):
                call(str(corpus))
    with pytest.raises(MissingInputError):
        check_file(str(tmp_path / "none"))


def test_a_model_is_not_saved_over_another_file(tmp_path, corpus):
    before = corpus.read_bytes()
    with pytest.raises(OutputError, match="is not a model of charlm's"):
        tiny_model().save(corpus)
    assert corpus.read_bytes() == before
    for seed in (0, 1):
        tiny_model(seed=seed).save(tmp_path / "m.safetensors")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "m.safetensors")
    with pytest.raises(OutputError, match="is not a model of charlm's"):
        tiny_model().save(tmp_path / "link.safetensors")
