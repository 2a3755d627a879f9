"""Values at the door: a setting or a fact of the wrong type, or no finite number, is one line and the right code.

They come from TOML files, flags, the environment, the metadata of models and of states, and Python callers.
"""

import json
import math
import os

import pytest

from charlm import checkpoint
from charlm.cli import main
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.directory import Directory
from charlm.errors import DataError, UsageError
from charlm.facts import FACTS
from charlm.loading import load
from charlm.runs import open_run
from tests.test_commands import LINES, SMALL, assert_refused, charlm
from tests.test_training import TINY, train, write
from tests.tiny import tiny_model

OPTIONS = [p for p in main.commands["train"].params if p.name not in ("config", "resume", "force", "quiet")]
OF_TYPE = {  # a TOML value of each type; which of them an option takes is known by the kind of its own
    "text": ['"x"', '""'],
    "whole": ["7"],
    "fraction": ["1.5", "-0.0", "nan", "inf", "-inf", "1e300"],
    "truth": ["true", "false"],
    "list": ["[]", '["a"]', "[1]", "[true]"],
    "table": ["{a = 1}"],
    "date": ["1979-05-27", "12:00:00", "1979-05-27T07:32:00Z"],
    "huge": ["1" + "0" * 30, "9223372036854775808", "-9223372036854775809", "0x" + "f" * 4000],
}
TAKES = {"integer": {"whole"}, "float": {"whole", "fraction"}, "boolean": {"truth"}}


@pytest.fixture(autouse=True)
def room(tmp_path, monkeypatch):
    """Work in an empty directory that has a corpus."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "corpus.txt", LINES)
    return tmp_path


def trained_by(text, *flags, env=None):
    """Run train with a TOML file of this text."""
    with open("c.toml", "w", encoding="utf-8") as file:
        file.write(text)
    return charlm("train", "corpus.txt", "-m", "m", "--config", "c.toml", *flags, env=env)


def wrong_values(option):
    """Return the TOML values of every type that an option does not take, and numbers that are none."""
    several = option.nargs == -1 or getattr(option, "multiple", False)
    takes = TAKES.get(option.type.name, {"text", "list"} if several else {"text"})
    wrong = [value for kind, values in OF_TYPE.items() if kind not in takes for value in values]
    if several:
        wrong += ["[1]", "[true]", '["a", 1]', '[["a"]]']
    return [*wrong, "nan", "inf", "-inf", '"a\\u0000b"']


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_toml_value_of_the_wrong_type_is_refused_by_name(room, option):
    name = option.name.replace("_", "-")
    for value in wrong_values(option):
        result = trained_by(f"{name} = {value}\n")
        assert_refused(result, 2, "c.toml", name)
        assert len(result.stderr) < 300, value
    assert sorted(os.listdir(room)) == ["c.toml", "corpus.txt"]


@pytest.mark.parametrize(("text", "code", "words"), [
    ("steps = 2\nlr = 0.1\nbatch-size = 4\nbatch_size = 5\n", 2, ["batch-size is there twice"]),
    ("[lr]\nx = 1\n", 2, ["lr must be a number"]),
    ("[train]\nlr = 1.0\n", 2, ["unknown settings: train"]),
    ("a = " + "[" * 5000 + "]" * 5000, 65, ["not TOML"]),
    ("lr = " + "1" * 5000, 65, ["not TOML"]),
    ("lr = 1979-13-45\n", 65, ["not TOML"]),
    ("\ufefflr = 1.0\n", 65, ["not TOML"]),
    ("steps = 9223372036854775807\nepochs = 1\n", 2, ["epochs", "steps"]),
])  # fmt: skip
def test_toml_files_that_are_odd_as_a_whole(text, code, words):
    assert_refused(trained_by(text), code, *words)


def test_a_list_of_one_file_may_be_written_as_a_text(room):
    """A text in place of a list was read as single letters."""
    with open("c.toml", "w", encoding="utf-8") as file:
        file.write('corpus = "corpus.txt"\n')
    assert charlm("train", "-m", "m", "--config", "c.toml", *SMALL).exit_code == 0
    assert json.loads(charlm("info", "-m", "m", "--json").stdout)["corpus"] == ["corpus.txt"]


RANGED = {  # what a flag says that no run can have
    "--lr": ["nan", "inf", "1e400", "-0", "-1", "1e31", ""],
    "--clip": ["nan", "inf", "1e400", "-0", "0"],
    "--epochs": ["nan", "inf", "1e300", "1e10", "-0", "-1"],
    "--minutes": ["nan", "inf", "1e300", "0", "-1", "-inf"],
    "--warmup": ["-1", str(2**63), str(2**70), "1.5", "nan"],
    "--weight-decay": ["nan", "inf", "-1", "1e31"],
    "--lr-decay": ["nan", "inf", "1.5", "-0.1"],
    "--lr-decay-after": ["nan", "inf", "-1"],
    "--momentum": ["nan", "inf", "1", "-0.1"],
    "--dropout": ["nan", "inf", "1", "-0.1"],
    "--valid-fraction": ["nan", "inf", "1", "-0.1", "1e400"],
    "--test-fraction": ["nan", "inf", "1", "-0.1"],
    "--threads": ["0", "1025", str(2**60), str(2**70)],
    "--layers": ["-1", "101", str(2**70)],
    "--hidden": ["0", "65537", str(2**70)],
    "--embedding": ["-1", "65537"],
    "--batch-size": ["0", str(2**63), "1.5", ""],
    "--seq-len": ["0", str(2**63)],
    "--steps": ["0", str(2**63), "-1"],
    "--seed": ["-1", str(2**63), "1e3"],
    "--split-seed": ["-1", str(2**63)],
    "--vocab-size": ["2", str(2**63)],
    "--min-count": ["0", str(2**63)],
    "--patience": ["0", str(2**63)],
    "--eval-every": ["0", str(2**63)],
    "--save-every": ["0", str(2**63)],
    "--log-every": ["0", str(2**63)],
}


@pytest.mark.parametrize("flag", RANGED)
def test_a_number_out_of_range_is_refused_by_name_before_anything_is_read(room, flag):
    for value in RANGED[flag]:
        result = charlm("train", "corpus.txt", "-m", "m", f"{flag}={value}")
        assert_refused(result, 2, flag.removeprefix("--"))
    for value in RANGED[flag]:
        if value:  # an empty variable is none
            name = "CHARLM_TRAIN_" + flag.removeprefix("--").replace("-", "_").upper()
            assert_refused(charlm("train", "corpus.txt", "-m", "m", env={name: value}), 2, flag.removeprefix("--"))
    assert os.listdir(room) == ["corpus.txt"]


@pytest.mark.parametrize("option", [
    "--batch-size", "--seq-len", "--warmup", "--seed", "--split-seed", "--vocab-size", "--patience", "--eval-every",
    "--save-every", "--log-every",
])  # fmt: skip
@pytest.mark.parametrize("value", [2**60, 2**63 - 1])
def test_huge_but_possible_numbers_end_soon(option, value):
    rest = [word for pair in zip(SMALL[::2], SMALL[1::2], strict=True) if pair[0] != option for word in pair]
    assert charlm("train", "corpus.txt", "-m", "m", option, value, *rest).exit_code == 0


# --- Python callers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "name", "values"), [
    (TrainConfig, "lr", ["1", None, True, [0.1], math.nan, math.inf, 10**400]),
    (TrainConfig, "steps", [2.0, "2", True, [2], 10**30]),
    (TrainConfig, "skip_nan", [1, "yes", None]),
    (TrainConfig, "optimizer", [None, 1, ["adam"], b"adam"]),
    (TrainConfig, "device", [None, 0]),
    (TextConfig, "lowercase", [1, "true", None]),
    (TextConfig, "encoding", [None, 5, b"utf-8", "utf-8\0"]),
    (TextConfig, "valid_fraction", ["0.1", math.nan, None]),
    (ModelConfig, "vocab_size", [None, 5.0, "5", True]),
    (ModelConfig, "hidden", [8.0, "8", True, None]),
    (ModelConfig, "dropout", ["0", math.nan, None]),
    (ModelConfig, "tie", [1, 0, "no"]),
])  # fmt: skip
def test_settings_check_their_types_themselves(settings, name, values):
    needed = {"vocab_size": 5} if settings is ModelConfig else {}
    for value in values:
        with pytest.raises(UsageError, match=name.replace("_", "-")):
            settings(**(needed | {name: value}))


@pytest.mark.parametrize("given", [
    {"corpus": "corpus.txt"}, {"corpus": ("corpus.txt", 5)}, {"corpus": 5}, {"corpus": {"corpus.txt": 1}},
    {"corpus": ("corpus.txt",), "valid_file": 5}, {"corpus": ("corpus.txt",), "test_file": ["corpus.txt", 5]},
    {"corpus": ("corpus.txt", None)}, {"corpus": ("corpus.txt",), "init_from": 5},
])  # fmt: skip
def test_files_of_a_run_are_paths(room, given):
    with Directory(room / "m") as directory, pytest.raises(UsageError, match=r"corpus|valid-file|test-file|init-from"):
        open_run(directory, given)


# --- the metadata of models and states --------------------------------------------------------------------------------

NO_NUMBER = ["x", True, [], {}, [1], math.nan, math.inf, 10**400]
NO_COUNT = [*NO_NUMBER, 1.5, -1, None, 2**63]
NO_TEXT = [5, None, True, [], {}, 1.5]
WRONG = {
    int: NO_COUNT,
    float: [*NO_NUMBER, None],
    float | None: NO_NUMBER,
    str: NO_TEXT,
    list: ["x", 5, None, {}, [5], [None], [["a"]]],
    dict: ["x", 5, None, [], True],
}


def rewritten(path, key, change):
    """Change a file's JSON under a metadata key in place, well signed."""
    tensors, metadata = checkpoint.load(path)
    value = json.loads(metadata[key])
    change(value)
    checkpoint.save(path, tensors, metadata | {key: json.dumps(value)})


@pytest.mark.parametrize("name", FACTS)
def test_a_model_whose_facts_are_of_wrong_types_is_refused(room, name):
    for value in WRONG[FACTS[name]]:
        path = room / "m.safetensors"
        tiny_model("ab").save(path)
        rewritten(path, "charlm.training", lambda facts, value=value: facts.update({name: value}))
        with pytest.raises(DataError, match=r"m\.safetensors: "):
            load(path)
    for command in (["info"], ["score", "a"], ["sample"]):
        assert_refused(charlm(command[0], "-m", path, *command[1:]), 65, "m.safetensors")


@pytest.mark.parametrize("value", ["x", True, None, [], {}, 1.5, -1, math.nan, 10**400])
@pytest.mark.parametrize("name", ModelConfig.__dataclass_fields__)
def test_a_model_whose_shape_is_of_wrong_types_is_refused(room, name, value):
    if (name in ("tie", "layer_norm", "residual") and value is True) or (name, value) == ("head_hidden", None):
        return
    path = room / "m.safetensors"
    tiny_model("ab").save(path)
    rewritten(path, "charlm.model", lambda facts: facts.update({name: value}))
    assert_refused(charlm("info", "-m", path), 65, name.replace("_", "-") if value == value else "JSON")


@pytest.mark.parametrize("name", ["vocab_size"])
def test_a_model_without_its_vocabulary_size_is_refused_by_its_name(room, name):
    path = room / "m.safetensors"
    tiny_model("ab").save(path)
    rewritten(path, "charlm.model", lambda facts: facts.pop(name))
    assert_refused(charlm("info", "-m", path), 65, "vocab-size is missing")


@pytest.mark.parametrize("nats", [709.0, 710.0, 1e5, 1e308])
def test_a_perplexity_beyond_any_float_is_infinite(room, nats):
    model = tiny_model("ab")
    model.facts["valid_nats"] = nats
    model.save(room / "m.safetensors")
    shown = charlm("info", "-m", room / "m.safetensors")
    assert shown.exit_code == 0
    assert ("inf" in shown.stdout) == (nats > 709)
    facts = json.loads(charlm("info", "-m", room / "m.safetensors", "--json").stdout, parse_constant=pytest.fail)
    assert facts["valid_nats"] == nats
    assert (facts["valid_perplexity"] is None) == (nats > 709)


OF_STATE = {
    **{("state", name): NO_COUNT for name in (
        "step", "epoch", "chunk", "tokens", "best_step", "stale", "plateaus", "pending_tokens", "skipped",
        "skipped_in_a_row")},
    **{("state", name): NO_NUMBER for name in ("seconds", "best", "pending_nats")},
    ("state", "what_is_this"): [1],
    ("engine", "optimizer_steps"): NO_COUNT,
    ("engine", "dropout_generators"): ["x", 5, [5], [{}], [{"state": -1}]],
    ("settings", "corpus"): ["corpus.txt", 5, None, [5]],
    ("settings", "hidden"): ["8", 8.0, True, 0],
    ("settings", "lr"): ["x", math.nan, 10**400, -1],
    ("settings", "steps"): ["6", 6.0, 0],
    ("settings", "tokenizer"): [5, "letters"],
    ("settings", "encoding"): [5, None],
}  # fmt: skip


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """Return the path of a state that can be gone on from, and of its corpus."""
    room = tmp_path_factory.mktemp("state")
    corpus = write(room / "corpus.txt", LINES)
    train(room / "m", {"corpus": (corpus,), "steps": 6, **TINY, "dropout": 0.2}, stop_at=2)
    return room / "m" / "resume.safetensors"


@pytest.mark.parametrize(("part", "name"), OF_STATE)
def test_a_state_of_wrong_values_is_refused(state, part, name):
    whole = state.read_bytes()
    try:
        for value in OF_STATE[part, name]:
            state.write_bytes(whole)
            rewritten(state, "charlm.resume", lambda resume, value=value: resume[part].update({name: value}))
            assert_refused(charlm("train", "-m", state.parent, "--resume"), 65, "resume.safetensors")
    finally:
        state.write_bytes(whole)


@pytest.mark.parametrize("name", ["run", "digests", "corpus", "train_tokens"])
def test_a_state_whose_facts_are_of_wrong_types_is_refused(state, name):
    whole = state.read_bytes()
    try:
        for value in WRONG[FACTS[name]]:
            state.write_bytes(whole)
            rewritten(state, "charlm.training", lambda facts, value=value: facts.update({name: value}))
            assert_refused(charlm("train", "-m", state.parent, "--resume"), 65, "resume.safetensors")
    finally:
        state.write_bytes(whole)


@pytest.mark.parametrize("change", [
    lambda value: value[..., :-1], lambda value: value.astype("f8"), lambda value: value[:, :1] if value.ndim > 1
    else value[:1], lambda value: value[None],
], ids=["shorter", "float64", "one column", "an axis more"])  # fmt: skip
@pytest.mark.parametrize("name", ["state.0", "optimizer.m"])
def test_a_state_whose_arrays_do_not_fit_is_refused(state, name, change):
    """One of a single number was spread over all of them."""
    whole = state.read_bytes()
    tensors, metadata = checkpoint.load(state)
    try:
        checkpoint.save(state, tensors | {name: change(tensors[name])}, metadata)
        assert_refused(charlm("train", "-m", state.parent, "--resume"), 65)
    finally:
        state.write_bytes(whole)


def test_python_callers_get_data_error_for_a_model_of_wrong_facts(room):
    path = room / "m.safetensors"
    model = tiny_model("ab")
    model.facts["valid_nats"] = "x"
    model.save(path)
    with pytest.raises(DataError, match="valid_nats must be a number, not 'x'"):
        load(path)


@pytest.mark.parametrize("part", [{}, {"settings": 5}, {"settings": {}}, {"settings": {"corpus": 7}}])
def test_a_state_that_names_no_corpus_is_no_help_to_score(state, part):
    """It ended in a traceback."""
    whole = state.read_bytes()
    tensors, metadata = checkpoint.load(state)
    try:
        checkpoint.save(state, tensors, metadata | {"charlm.resume": json.dumps(part)})
        assert_refused(charlm("score", "-m", state.parent, "--corpus", "valid"), 65, "resume.safetensors")
    finally:
        state.write_bytes(whole)


@pytest.mark.parametrize("name", ["run", "digests"])
def test_a_state_that_does_not_say_what_it_is_of_is_refused(state, name):
    whole = state.read_bytes()
    try:
        rewritten(state, "charlm.training", lambda facts: facts.pop(name))
        assert_refused(charlm("train", "-m", state.parent, "--resume"), 65, "resume.safetensors", "which corpus")
    finally:
        state.write_bytes(whole)
