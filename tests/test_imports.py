"""Who may import whom: the tiers of the package, who knows which library, and what must not be loaded early."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import charlm

PACKAGE = Path(charlm.__file__).parent

# From the ground up. A part imports itself and the tiers below it, so parts of one tier do not know each other.
TIERS = [
    ["errors", "cells", "bio", "markup"],
    ["config", "processors", "checks", "settings_file"],
    ["text", "nn", "checkpoint", "lock", "facts"],
    ["ownership", "counts"],
    ["exchange"],
    ["model_files"],
    ["kept_counts", "notebooks"],
    ["engines", "language", "tags", "conversion"],
    ["scoring", "sampling", "metrics", "tag_metrics", "convert_metrics", "chrf"],
    ["writing", "novelty", "comparison", "convert_evaluation", "standing", "courses", "losses"],
    ["model", "classifier", "tagger", "converter"],
    [
        "labelled",
        "training",
        "plan",
        "counted",
        "finetuning",
        "run_files",
        "gold",
        "tag_gold",
        "convert_gold",
        "tag_inputs",
        "inspection",
        "following",
    ],
    ["directory", "run_settings", "explanation"],
    ["label_files"],
    ["tasks"],
    ["loading", "model_facts"],
    ["runs"],
    ["inputs"],
    ["page"],
    ["cli"],
    ["__main__"],
]
TIER = {part: level for level, parts in enumerate(TIERS) for part in parts}
HIDDEN = {  # which files may import a library that is not in every one of them
    "click": "cli/",
    "tqdm": "cli/",
    "torch": "engines/torch",
    "threadpoolctl": "engines/threads.py",
    "sacrebleu": "chrf.py",
}
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
# The front door: it names what lies above it, but imports that only when it is asked for.
INNER = [name for name in FILES if name != "__init__.py"]


def imported(name):
    """Return the full names of all modules that a file imports, inside functions and for types too."""
    found = []
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def part_of(module):
    """Return the part of the package that a name below `charlm.` belongs to."""
    return module.split(".")[1]


def test_every_part_has_a_tier():
    parts = {name.split("/")[0].removesuffix(".py") for name in INNER}
    assert parts == set(TIER)


@pytest.mark.parametrize("name", INNER)
def test_a_part_imports_only_what_is_below_it(name):
    own = name.split("/")[0].removesuffix(".py")
    below = {module for module in imported(name) if module.startswith("charlm.") and part_of(module) != own}
    wrong = sorted(module for module in below if TIER.get(part_of(module), len(TIERS)) >= TIER[own])
    assert not wrong


@pytest.mark.parametrize("name", FILES)
def test_libraries_stay_where_they_belong(name):
    roots = {module.split(".")[0] for module in imported(name)} - sys.stdlib_module_names - {"charlm", "numpy"}
    misplaced = sorted(root for root in roots if root not in HIDDEN or not name.startswith(HIDDEN[root]))
    assert not misplaced


HELP = "from charlm.cli import main\ntry: main({})\nexcept SystemExit as end: assert not end.code"


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("import charlm", ""),
        ("import charlm.cli", ""),
        (HELP.format(["--help"]), "Usage: "),
        (HELP.format(["train", "--help"]), "Usage: "),
    ],
    ids=["charlm", "charlm.cli", "charlm --help", "charlm train --help"],
)
def test_nothing_heavy_is_loaded_early(code, shown):
    """In a fresh interpreter, warnings being errors; what is loaded is told on stderr, as help goes to stdout."""
    report = "import sys\nprint(*{'numpy', 'tqdm', 'torch'} & set(sys.modules), file=sys.stderr)"
    done = in_python(f"{code}\n{report}")
    assert (done.returncode, done.stderr) == (0, "\n")
    assert done.stdout.startswith(shown)


def test_numpy_computes_without_torch():
    """With PyTorch hidden, the library and its default engine work."""
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "from charlm.config import ModelConfig\nfrom charlm.engines.numpy import NumpyEngine\n"
        "engine = NumpyEngine(ModelConfig(3, hidden=2, embedding=2))\nprint(len(engine.tensors()))"
    )
    done = in_python(code)
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_engine_torch_says_how_to_get_pytorch(tmp_path):
    """Where it is not installed: one line, and nothing is left behind."""
    (tmp_path / "corpus.txt").write_text("some text\n" * 50)
    arguments = ["train", f"{tmp_path}/corpus.txt", "-m", f"{tmp_path}/model", "--engine", "torch", "--steps", "1"]
    done = in_python(f"import sys\nsys.modules['torch'] = None\nfrom charlm.cli import main\nmain({arguments})")
    assert done.returncode == 2
    assert done.stderr == "charlm: engine torch needs PyTorch, which is not installed: pip install torch\n"
    assert not (tmp_path / "model").exists()


def in_python(code):
    """Run code in a fresh interpreter in which warnings are errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent, check=False)


def test_public_names_are_found_and_no_other():
    assert {"load", "Model", "Score", "CharlmError", "__version__"} <= set(charlm.__all__)
    assert all(getattr(charlm, name) for name in charlm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = charlm.lode
