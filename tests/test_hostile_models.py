"""Model files from strangers: damaged, or well signed and ill meant. All are refused alike, fast, and none runs code.

The full form tries 50,000 signed files and every single bit of a model.
"""

import copy
import gc
import hashlib
import json
import random
import resource
import subprocess
import sys
import time

import pytest

import charlm
from charlm.classifier import Classifier
from charlm.cli.info import shown_facts
from charlm.converter import Converter
from charlm.errors import DataError
from charlm.model_facts import facts_of
from charlm.tagger import Tagger
from tests.test_counts_model import alone, with_counts
from tests.tiny import sounds, tiny_classifier, tiny_converter, tiny_model, tiny_tagger

ZEROS = b"0" * 64
SECONDS, MEMORY = 0.5, 64 * 2**20  # what one answer may take, the memory beside twice the file


MODELS = {
    "language model": lambda: tiny_model(["a", "bb", "c"], words=True, cell="lstm", hidden=3, embedding=2),
    "with counts": lambda: with_counts(tiny_model(hidden=2, embedding=2), 3),
    "counts alone": lambda: alone(with_counts(tiny_model("ab\n", "document", "newline"), 3)),
    "classifier": lambda: tiny_classifier(
        hidden=2, embedding=2, bidirectional=True, pool="attention", head_layers=1, head_hidden=2
    ),
    "tagger": lambda: tiny_tagger(
        words=("ab",), names=("B-x", "I-x", "O"), hidden=2, embedding=2, char_hidden=1, crf=True
    ),
    "converter": lambda: tiny_converter(target=sounds("X", "Y1"), hidden=2, embedding=2),
}  # fmt: skip


@pytest.fixture(scope="module", params=MODELS)
def good(request, tmp_path_factory):
    """Return the bytes of a small model of each kind."""
    path = tmp_path_factory.mktemp("good") / "m.safetensors"
    MODELS[request.param]().save(path)
    return path.read_bytes()


def split(content):
    """Return header and data of a file."""
    length = int.from_bytes(content[:8], "little")
    return content[8 : 8 + length], content[8 + length :]


def signed(header, data):
    """Return a file with a digest that fits, so that what is wrong in it must be found otherwise."""
    key = b'"charlm.sha256":"'
    start = header.find(key)
    if start < 0:
        return len(header).to_bytes(8, "little") + header + data
    start += len(key)
    blank = header[:start] + ZEROS + header[start + 64 :]
    prefix = len(blank).to_bytes(8, "little")
    digest = hashlib.sha256(prefix + blank + data).hexdigest().encode()
    return prefix + blank[:start] + digest + blank[start + 64 :] + data


NESTED = ("charlm.model", "charlm.vocabulary", "charlm.training", "charlm.classes", "charlm.tags",
          "charlm.conversion")  # fmt: skip
NUMBERS = [0, 1, -1, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**31, 2**40, 2**63, 2**64, 10**30, -(2**63), 0.5, -0.5, 1e308]
TEXTS = ["", "a", "lstm", "gru", "char", "byte", "F32", "F64", "I64", "U8", "__import__('os')", "\0", "x" * 10_000,
         "classify", "lm", "max", "tag", "words", "characters", "IOB2"]  # fmt: skip
NESTS = [[], [0], [1, 2], [[]], [2**40, 2**40], {}, {"a": 1}, {"__reduce__": []}]
VALUES = [None, True, False, float("nan"), float("inf"), *NUMBERS, *TEXTS, *NESTS]
PIECES = [b"{", b"}", b'"', b",", b"\\u0000", b"\xff", b"1e999", b"NaN", b"-0"]


def deep(levels, kind):
    """Return JSON so deep that a parser may fall over it."""
    return "[" * levels + "]" * levels if kind == "list" else '{"a":' * levels + "1" + "}" * levels


def places(node, path=()):
    """Yield the path to every value in a tree of JSON."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def changed(rng, node):
    """Return the tree with one value replaced, removed, doubled, moved or renamed."""
    path = rng.choice([place for place in places(node) if place])
    parent = node
    for key in path[:-1]:
        parent = parent[key]
    key, action = path[-1], rng.randrange(5)
    if action == 0 and isinstance(parent, dict):
        del parent[key]
    elif action == 1 and isinstance(parent, dict):
        parent[rng.choice(["", "extra", "charlm.model", key + "x", key.upper()])] = parent.pop(key)
    elif action == 2 and isinstance(parent[key], int) and not isinstance(parent[key], bool):
        parent[key] += rng.choice([-1, 1, 4, -4, 2**31, 2**63])
    elif action == 3 and isinstance(parent[key], list):
        parent[key] = parent[key] * rng.choice([0, 2, 1000])
    else:  # a copy, since a later change may put something into it, itself not least
        parent[key] = copy.deepcopy(rng.choice(VALUES))
    return node


def changed_somewhere(rng, tree):
    """Return the header's tree changed in itself, or in the JSON that one of its texts holds."""
    meta, name = tree.get("__metadata__"), rng.choice([None, *NESTED])
    try:
        inner = json.loads(meta[name])
    except (KeyError, TypeError, ValueError):
        return changed(rng, tree) if tree else tree
    if not isinstance(inner, dict) or not inner:
        return tree
    meta[name] = json.dumps(changed(rng, inner), sort_keys=True, separators=(",", ":"))
    return tree


def hostile(rng, good):
    """Return one signed file that differs from a good one in its header, or that text in it."""
    header, data = split(good)
    if rng.random() < 0.1:  # in the text itself: doubled keys, depth, stray bytes
        start = rng.randrange(len(header))
        deeper = [deep(levels, kind).encode() for levels in (10, 2000) for kind in ("list", "dict")]
        piece = rng.choice([*PIECES, *deeper, header[start : start + rng.randrange(1, 60)]])
        return signed(header[:start] + piece + header[start + rng.randrange(3) :], data)
    tree = json.loads(header)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        tree = changed_somewhere(rng, tree)
    text = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode("ascii")
    if rng.random() < 0.1:
        data = rng.choice([b"", data[:-4], data + b"\0" * 4, data * 2])
    return signed(text + b" " * (-len(text) % 8), data)


def answer(path, content):
    """Load a file; return whether it was refused. Anything else than a refusal or a model that works is an error."""
    path.unlink(missing_ok=True)  # to cut a file to nothing waits for some disks, a new one does not
    path.write_bytes(content)
    try:
        model = charlm.load(path, threads=1)
        if isinstance(model, Classifier):
            model.probabilities("a bb")
        elif isinstance(model, Tagger):
            next(model.predict(["a bb"]))
        elif isinstance(model, Converter):
            next(model.predict(["a bb"], beam=2))
            model.score("a bb", "X")
        else:
            model.score("a bb")
            model.sample(5, seed=1)
        shown_facts(facts_of(model))
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return True
    return False


@pytest.fixture
def nothing_of_others_to_collect():
    """Keep the objects that other tests left out of collections: to look through them all takes half a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("nothing_of_others_to_collect")
@pytest.mark.parametrize(
    ("count", "seed"),
    [(2_500, 0), pytest.param(50_000, 1, marks=pytest.mark.full)],
)
def test_hostile_files_with_a_good_digest_are_answered_fast_and_in_little_memory(
    tmp_path, good, count, seed
):
    rng, refused, slowest = random.Random(seed), 0, 0.0
    answer(tmp_path / "m", good)  # what is loaded late is not the hostile file's fault
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        content = hostile(rng, good)
        begun = time.process_time()
        refused += answer(tmp_path / "m", content)
        slowest = max(slowest, time.process_time() - begun)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert 0.7 * count < refused < count, "some changes are harmless, most are not"
    assert slowest < SECONDS
    assert grown < MEMORY + 2 * len(good)


def test_hostile_files_are_trees():
    """What is put into a file is a copy: put into itself, it would be a ring that no JSON can hold."""
    rng = random.Random(0)
    for _ in range(2_000):
        tree = {"a": [1, {"b": []}], "c": {"d": {}}}
        for _ in range(6):
            tree = changed(rng, tree) if tree else {"a": []}
        json.dumps(tree)
    assert NESTS == [[], [0], [1, 2], [[]], [2**40, 2**40], {}, {"a": 1}, {"__reduce__": []}]


def test_a_model_cut_at_every_byte_is_refused(tmp_path, good):
    assert all(answer(tmp_path / "m", good[:length]) for length in range(len(good)))


@pytest.mark.parametrize("stride", [37, pytest.param(1, marks=pytest.mark.full)])
def test_a_model_with_any_bit_flipped_is_refused(tmp_path, good, stride):
    for bit in range(0, 8 * len(good), stride):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        assert answer(tmp_path / "m", bytes(flipped)), f"bit {bit}"


WATCH = """
import pathlib, sys
import charlm
from charlm.errors import DataError
from charlm.tasks import TASKS, task_named

def answer(path):
    try:
        model = charlm.load(path, threads=1)
        list(model.predict(["a bb"])) if hasattr(model, "predict") else model.score("a bb")
    except DataError:
        pass

KINDS = {"import", "compile", "exec", "subprocess", "os", "shutil", "pickle", "marshal", "socket", "urllib", "code"}
for name in TASKS:
    task_named(name)  # a file may say that it is of another one
room = pathlib.Path(sys.argv[1])
for name in ("0.bad", "good"):
    answer(room / name)
found = []

def hook(event, arguments):
    if event == "open":
        mode = arguments[1]
        if isinstance(mode, str) and set(mode) & set("wax+"):
            found.append(f"open {arguments}")
    elif event.split(".")[0] in KINDS:
        found.append(f"{event} {arguments}")

paths = sorted(map(str, room.glob("*.bad")))
sys.addaudithook(hook)
for path in paths:
    answer(path)
print(len(paths), found[:5])
"""


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.full)])
def test_no_code_runs_on_load(tmp_path, good, count):
    """Under an audit hook: no import, compilation, execution, process or file opened for writing, whatever comes."""
    rng = random.Random(1)
    (tmp_path / "good").write_bytes(good)
    for number in range(count):
        (tmp_path / f"{number}.bad").write_bytes(hostile(rng, good) if number % 2 else good[: rng.randrange(len(good))])
    done = subprocess.run([sys.executable, "-c", WATCH, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == f"{count} []\n", done.stdout + done.stderr
