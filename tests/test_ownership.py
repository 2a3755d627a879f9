"""A directory of one's own: what charlm did not write is refused, 73, and found as it was, whatever was asked for."""

import json
import os
import shutil
import tomllib

import numpy as np
import pytest

from charlm import checkpoint
from charlm.directory import Directory
from charlm.errors import OutputError
from charlm.lock import LOCK_FILE
from charlm.ownership import FILES, NEW, READY
from charlm.runs import open_run
from charlm.settings_file import to_toml
from tests.test_commands import LINES, SMALL, assert_refused, charlm

NAMES = [LOCK_FILE, *FILES, NEW, READY]
DIVERGING = ["--optimizer", "sgd", "--lr", "1e38", "--clip", "1e38", "--cell", "rnn", "--nonlinearity", "relu",
             "--eval-every", "5"]  # fmt: skip


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A corpus and a run on it, which is only copied."""
    room = tmp_path_factory.mktemp("room")
    (room / "corpus.txt").write_text(LINES)
    assert charlm("train", room / "corpus.txt", "-m", room / "m", *SMALL, "--counts", 0).exit_code == 0
    return room


def contents(where):
    """Return what is below a directory, by name: a file's bytes, where a link leads, the kind of anything else."""
    found = {}
    for path in sorted(where.rglob("*")):
        name = path.relative_to(where).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else path.stat().st_mode
    return found


def a_file(path):
    path.write_text("mine\n")


def a_directory(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine\n")


def a_link(path):
    (path.parent / "elsewhere").write_bytes(b"")
    path.symlink_to("elsewhere")


def a_dangling_link(path):
    path.symlink_to("nowhere")


def a_pipe(path):
    os.mkfifo(path)


THINGS = [a_file, a_directory, a_link, a_dangling_link, a_pipe]


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beside", ["nothing", "a run"])
def test_what_is_not_charlms_is_refused_and_stays(tmp_path, room, name, thing, beside):
    where = tmp_path / "m"
    if beside == "a run":
        shutil.copytree(room / "m", where)
        (where / name).unlink(missing_ok=True)
    else:
        where.mkdir()
    thing(where / name)
    before = contents(tmp_path)
    for options in ([], ["--force"], ["--resume"], DIVERGING, ["--hidden", "0"]):
        result = charlm("train", room / "corpus.txt", "-m", where, *SMALL, *options)
        assert_refused(result, 73, where / name, "not a file of charlm's", "another directory with -m")
        assert contents(tmp_path) == before


@pytest.mark.parametrize("name", [NEW, READY])
@pytest.mark.parametrize("what", ["link to a run", "own files under charlm's names"])
def test_what_only_looks_like_a_leftover_is_refused(tmp_path, room, name, what):
    """Its files would be moved or deleted."""
    shutil.copytree(room / "m", tmp_path / "other")
    (tmp_path / "m").mkdir()
    if what == "link to a run":
        (tmp_path / "m" / name).symlink_to(tmp_path / "other")
    else:
        (tmp_path / "m" / name).mkdir()
        for file in ("config.toml", "log.jsonl", "model.safetensors"):
            (tmp_path / "m" / name / file).write_text("mine")
    before = contents(tmp_path)
    for options in ([], ["--force"], ["--resume"]):
        assert_refused(charlm("train", room / "corpus.txt", "-m", tmp_path / "m", *SMALL, *options), 73, name)
        assert contents(tmp_path) == before


FOREIGN = {
    "recipe": ("config.toml", b"# my recipe\nhidden = 16\nsteps = 5\n"),
    "written settings without a run": ("config.toml", to_toml({"hidden": 8}).encode()),
    "log": ("log.jsonl", b'{"step": 1, "loss": 2.5}\n'),
    "empty log": ("log.jsonl", b""),
    "settings of a shop": ("config.toml", b'[server]\nport = 80\nname = "shop"\n'),
    "empty model": ("model.safetensors", b""),
    "lock of another program": (".lock", b"pid 12\n"),
    "lock with two numbers": (".lock", b"12 34"),
    "text": ("model.safetensors", b'{"charlm.format": "1"} is what its header names\n' * 99),
}


@pytest.mark.parametrize(("name", "content"), FOREIGN.values(), ids=FOREIGN)
def test_what_looks_a_little_like_charlms_is_not(tmp_path, room, name, content):
    (tmp_path / name).write_bytes(content)
    for options in ([], ["--force"], ["--resume"]):
        result = charlm("train", room / "corpus.txt", "-m", tmp_path, *SMALL, *options)
        assert_refused(result, 73, tmp_path / name)
        assert contents(tmp_path) == {name: content}


@pytest.mark.parametrize(("name", "content"), [
    ("log.jsonl", b'{"step": 1, "loss": 2.5}\n'), ("log.jsonl", b"12:00 started\n"),
    ("config.toml", b'[server]\nport = 80\nname = "shop"\n'),
])  # fmt: skip
def test_what_is_of_another_program_is_refused_beside_a_run_too(tmp_path, room, name, content):
    shutil.copytree(room / "m", tmp_path / "m")
    (tmp_path / "m" / name).write_bytes(content)
    before = contents(tmp_path)
    for options in (["--force"], ["--resume"]):
        assert_refused(charlm("train", room / "corpus.txt", "-m", tmp_path / "m", *SMALL, *options), 73, name)
        assert contents(tmp_path) == before


def test_a_model_that_another_program_wrote(tmp_path, room):
    safetensors = pytest.importorskip("safetensors.numpy", reason="the package that other programs write with")
    for name in ("model.safetensors", "resume.safetensors"):
        where = tmp_path / name.split(".")[0]
        where.mkdir()
        safetensors.save_file({"a": np.ones(3)}, where / name, {"format": "pt"})
        before = contents(where)
        for options in ([], ["--force"], ["--resume"]):
            assert_refused(charlm("train", room / "corpus.txt", "-m", where, *SMALL, *options), 73, where / name)
            assert contents(where) == before


@pytest.mark.parametrize("lock", [b"", b"4711", b"4711\n"], ids=ascii)
def test_an_own_lock_is_used_and_found_as_it_was(tmp_path, room, lock):
    (tmp_path / ".lock").write_bytes(lock)
    assert charlm("train", room / "corpus.txt", "-m", tmp_path, *SMALL).exit_code == 0
    assert (tmp_path / ".lock").read_bytes() == lock
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, ".lock"}


def test_other_files_in_the_directory_are_left_alone(tmp_path, room):
    """Those named like charlm's temporary ones too."""
    others = {
        "notes.txt": b"mine", "config.1.toml": b"mine", ".model.safetensors.0123456789abcdef": b"mine",
        "model.safetensors.bak": b"mine", ".config.toml.swp": b"mine",
    }  # fmt: skip
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    for options in ([], ["--force"], ["--resume", "--steps", "9"]):
        given = [] if "--resume" in options else SMALL
        assert charlm("train", room / "corpus.txt", "-m", tmp_path, *given, *options).exit_code == 0
        assert {name: (tmp_path / name).read_bytes() for name in others} == others


def test_a_damaged_model_of_charlms_may_be_replaced(tmp_path, room):
    for cut in (200, 2000, -1):
        shutil.copytree(room / "m", tmp_path / "m", dirs_exist_ok=True)
        for name in ("model.safetensors", "resume.safetensors"):
            (tmp_path / "m" / name).write_bytes((room / "m" / name).read_bytes()[:cut])
        (tmp_path / "m" / "log.jsonl").write_bytes(b'{"step": 1, "tok\0\0\0\0')
        assert charlm("train", room / "corpus.txt", "-m", tmp_path / "m", *SMALL, "--force").exit_code == 0
        assert charlm("sample", "-m", tmp_path / "m").exit_code == 0


# --- edited by hand ---------------------------------------------------------------------------------------------------

EDITS = {
    "a remark": lambda text: "# the one for the paper\n" + text,
    "a setting": lambda text: text.replace("hidden = 8", "hidden = 9"),
    "a setting left out": lambda text: text.replace("embedding = 4\n", ""),
    "a slip": lambda text: text + "lr = \n",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("options", [["--force", *SMALL], ["--resume", "--steps", "7"]], ids=lambda given: given[0])
def test_settings_edited_by_hand_are_kept_under_another_name(tmp_path, room, edit, options):
    where = tmp_path / "m"
    shutil.copytree(room / "m", where)
    own = edit((where / "config.toml").read_text())
    (where / "config.toml").write_text(own)
    (where / "config.1.toml").write_text("an earlier one of mine")
    result = charlm("train", room / "corpus.txt", "-m", where, *options)
    assert result.exit_code == 0
    assert result.stderr.count("kept as config.2.toml") == 1
    assert (where / "config.2.toml").read_text() == own
    assert (where / "config.1.toml").read_text() == "an earlier one of mine"
    assert tomllib.loads((where / "config.toml").read_text())["steps"] == (7 if "--resume" in options else 5)
    assert {path.name for path in where.iterdir()} == {*FILES, "config.1.toml", "config.2.toml"}


def test_an_edited_recipe_of_a_run_may_replace_it(tmp_path, room):
    where = tmp_path / "m"
    shutil.copytree(room / "m", where)
    own = EDITS["a remark"](EDITS["a setting"]((where / "config.toml").read_text()))
    (where / "config.toml").write_text(own)
    assert charlm("train", "--config", where / "config.toml", "-m", where, "--force").exit_code == 0
    assert tomllib.loads((where / "config.toml").read_text())["hidden"] == 9
    assert (where / "config.1.toml").read_text() == own


def test_lines_added_to_a_log_are_kept(tmp_path, room):
    for options in (["--force", *SMALL], ["--resume", "--steps", "7"]):
        where = tmp_path / options[0]
        shutil.copytree(room / "m", where)
        own = (where / "log.jsonl").read_text() + "stopped for lunch\n"
        (where / "log.jsonl").write_text(own)
        result = charlm("train", room / "corpus.txt", "-m", where, *options)
        assert result.stderr.count("kept as log.1.jsonl") == 1
        assert (where / "log.1.jsonl").read_text() == own
        assert "lunch" not in (where / "log.jsonl").read_text()


@pytest.mark.parametrize("options", [["--force", *SMALL], ["--resume", "--steps", "7"]], ids=lambda given: given[0])
@pytest.mark.parametrize("tail", [b"", b'{"step": 6, "tok', b"\0\0\0\0", b"\0\0\n"], ids=ascii)
def test_what_charlm_wrote_needs_no_copy(tmp_path, room, options, tail):
    """Nor does what a crash left of a line."""
    where = tmp_path / "m"
    shutil.copytree(room / "m", where)
    with open(where / "log.jsonl", "ab") as log:
        log.write(tail)
    result = charlm("train", room / "corpus.txt", "-m", where, *options)
    assert result.exit_code == 0
    assert "kept as" not in result.stderr
    assert {path.name for path in where.iterdir()} == {*FILES}


def test_a_model_carried_to_a_recipe_does_not_make_it_charlms(tmp_path, room):
    """The settings cannot be checked without a state, so they are kept."""
    own = "# mine\nhidden = 8\nsteps = 2\nthreads = 1\n"
    (tmp_path / "config.toml").write_text(own)
    shutil.copy(room / "m" / "model.safetensors", tmp_path)
    result = charlm("train", room / "corpus.txt", "--config", tmp_path / "config.toml", "-m", tmp_path, "--force")
    assert result.exit_code == 0
    assert (tmp_path / "config.1.toml").read_text() == own


def test_a_resume_keeps_its_settings_file_until_it_saves(tmp_path, room):
    where = tmp_path / "m"
    shutil.copytree(room / "m", where)
    before = (where / "config.toml").read_bytes()
    with Directory(where) as directory:
        run = open_run(directory, {"steps": 9}, resume=True)
        next(run.events())
    assert (where / "config.toml").read_bytes() == before
    with Directory(where) as directory:
        for _ in open_run(directory, {"steps": 9}, resume=True).events():
            pass
    assert tomllib.loads((where / "config.toml").read_text())["steps"] == 9


@pytest.mark.parametrize("name", ["config.toml", "log.jsonl", "model.safetensors"])
def test_a_file_that_comes_while_the_run_is_at_work_is_not_replaced(tmp_path, room, name):
    where = tmp_path / "m"
    given = {"corpus": (str(room / "corpus.txt"),), "hidden": 8, "steps": 3, "eval_every": 3, "threads": 1}
    with Directory(where) as directory:
        events = open_run(directory, given).events()
        next(events)
        (where / name).write_text("mine")
        with pytest.raises(OutputError, match=f"{name} is not a file of charlm's"):
            list(events)
    assert contents(where) == {name: b"mine"}


# --- equal runs -------------------------------------------------------------------------------------------------------

KINDS = {
    "lines": [], "a test part": ["--test-fraction", "0.2"], "words": ["--tokenizer", "word", "--min-count", "1"],
    "epochs": ["--epochs", "0.5"], "no validation": ["--valid-fraction", "0"],
}  # fmt: skip


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_two_equal_runs_write_equal_model_files(tmp_path, monkeypatch, options):
    """From elsewhere, to elsewhere, named in another way."""
    limit = SMALL if "--epochs" not in options else [*SMALL[:-4], "--threads", "1"]
    models = []
    for place, named in (("a", "corpus.txt"), ("b/c", "../c/corpus.txt"), ("d", None)):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "corpus.txt").write_text(LINES)
        monkeypatch.chdir(tmp_path / place)
        corpus, where = named or tmp_path / place / "corpus.txt", f"m{len(models)}"
        assert charlm("train", corpus, "-m", where, *limit, *options).exit_code == 0
        models.append((tmp_path / place / where / "model.safetensors").read_bytes())
    assert models[0] == models[1] == models[2]


def test_a_run_that_was_stopped_writes_the_same_model_file(tmp_path, room):
    given = {"corpus": (str(room / "corpus.txt"),), "steps": 9, "hidden": 8, "threads": 1, "eval_every": 3}
    for name, stops in (("whole", [None]), ("parts", [2, 5, None])):
        for stop in stops:
            with Directory(tmp_path / name) as directory:
                run = open_run(directory, given if stop in (None, 2) else {}, resume=stop != stops[0])
                for _ in run.events(lambda run=run, stop=stop: stop is not None and run.standing.step >= stop):
                    pass
    whole, parts = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def run_id(where):
    return json.loads(checkpoint.load(where / "model.safetensors")[1]["charlm.training"])["run"]


def test_runs_that_differ_have_different_ids(tmp_path, room):
    """Those by the clock always do."""
    other = tmp_path / "other.txt"
    other.write_text("".join(reversed(LINES.splitlines(keepends=True))))  # the same vocabulary
    corpus = room / "corpus.txt"
    settings = [*SMALL[:-4], "--threads", "1", "--steps", "2", "--valid-fraction", "0"]
    timed = [*SMALL[:-4], "--threads", "1", "--minutes", "0.0001"]
    runs = [
        [corpus, *settings], [other, *settings], [corpus, *settings, "--seed", "1"],
        [corpus, *settings, "--cell", "rnn"], [corpus, *settings, "--init-from", room / "m"],
        [corpus, *timed], [corpus, *timed],
    ]  # fmt: skip
    for number, arguments in enumerate(runs):
        assert charlm("train", *arguments, "-m", tmp_path / str(number)).exit_code == 0
    ids = {run_id(tmp_path / str(number)) for number in range(len(runs))}
    assert len(ids) == len(runs)
    for number in (0, 2):  # models of one vocabulary
        arguments = [corpus, *settings, "--init-from", tmp_path / str(number)]
        assert charlm("train", *arguments, "-m", tmp_path / f"tuned{number}").exit_code == 0
    assert run_id(tmp_path / "tuned0") != run_id(tmp_path / "tuned2")


def test_info_takes_the_seconds_from_the_log_beside_the_model_or_from_an_older_file(tmp_path, room):
    def shown(model):
        return json.loads(charlm("info", "-m", model, "--json").stdout)["seconds"]

    log = [json.loads(line) for line in (room / "m" / "log.jsonl").read_text().splitlines()]
    step = json.loads(charlm("info", "-m", room / "m", "--json").stdout)["step"]
    seconds = next(entry["seconds"] for entry in log if entry["step"] == step)
    assert shown(room / "m") == shown(room / "m" / "model.safetensors") == round(seconds, 1)
    tensors, metadata = checkpoint.load(room / "m" / "model.safetensors")
    shutil.copy(room / "m" / "model.safetensors", tmp_path)
    assert shown(tmp_path) is None
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(e | {"valid_nats": 9.0, "seconds": 7}) + "\n" for e in log))
    assert shown(tmp_path) is None  # the log of another run
    facts = json.loads(metadata["charlm.training"])
    checkpoint.save(tmp_path / "model.safetensors", tensors, metadata | {
        "charlm.training": json.dumps(facts | {"seconds": 12.5}),
    })  # fmt: skip
    assert shown(tmp_path) == 12.5
    # such a run goes on: what its model said of the time is no longer true
    shutil.copy(room / "m" / "log.jsonl", tmp_path)
    arrays, state = checkpoint.load(room / "m" / "resume.safetensors")
    facts = json.loads(state["charlm.training"]) | {"seconds": 12.5}
    checkpoint.save(tmp_path / "resume.safetensors", arrays, state | {"charlm.training": json.dumps(facts)})
    assert charlm("train", "-m", tmp_path, "--resume", "--steps", 20).exit_code == 0
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert json.loads(charlm("info", "-m", tmp_path, "--json").stdout)["step"] == last["step"] == 20
    assert shown(tmp_path) == round(last["seconds"], 1)
