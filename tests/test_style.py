"""The house rules that a program can check."""

import ast
import tomllib
from pathlib import Path

import click
import pytest

import charlm
from charlm.cli import main

ROOT = Path(__file__).parents[1]
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "charlm").rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
USUAL_LINES_OF_A_FUNCTION = 30  # for nine of ten

all_files = pytest.mark.parametrize("name", FILES)


def length(function):
    """Return a function's lines, its decorators and docstring not counted."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


@all_files
def test_files_are_short(name):
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) < MOST_LINES_OF_A_FILE


@all_files
def test_no_function_is_long(name):
    assert not [node.name for node in functions(TREES[name]) if length(node) > MOST_LINES_OF_A_FUNCTION]


def test_nine_functions_of_ten_are_short():
    lengths = sorted(length(node) for tree in TREES.values() for node in functions(tree))
    assert lengths[len(lengths) * 9 // 10] <= USUAL_LINES_OF_A_FUNCTION


@all_files
def test_what_is_public_has_a_docstring(name):
    tree = TREES[name]
    public = [
        node for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]  # fmt: skip
    if name != "charlm/__main__.py":
        assert ast.get_docstring(tree)
    assert not [node.name for node in public if not ast.get_docstring(node)]


@all_files
def test_names_say_what_is_inside(name):
    assert Path(name).stem not in {"utils", "util", "helpers", "misc", "common"}


@all_files
def test_nothing_read_is_run_and_nothing_printed(name):
    calls = [node.func for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    assert not called & {"eval", "exec", "compile", "__import__", "print"}


@all_files
def test_no_pickle(name):
    modules = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    assert not modules & {"pickle", "marshal", "shelve", "dill", "joblib"}


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_one_version():
    assert PROJECT["version"] == charlm.__version__


def test_the_distribution_is_ours_by_name_and_has_its_licence():
    """On the public index `charlm` is a stranger's package, which an upgrade would fetch."""
    assert PROJECT["name"] == "charlm-toolkit"
    assert PROJECT["scripts"] == {"charlm": "charlm.__main__:main"}
    assert PROJECT["license"] == "MIT"
    (licence,) = PROJECT["license-files"]
    assert (ROOT / licence).read_text(encoding="utf-8").startswith("MIT License\n")


OPTIONS = [
    pytest.param(option, id=f"{command.name} {option.opts[-1]}")
    for command in main.commands.values()
    for option in command.params
    if isinstance(option, click.Option)
]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_says_what_it_does(option):
    assert (option.help or "").strip()
