"""What is done about compiled loops that are missing, out of date or of no use: NumPy, and a sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import charlm
from charlm.cli import main
from charlm.nn import kernel
from tests.tiny import tiny_model

ROOT = Path(charlm.__file__).parents[1]
built = pytest.mark.skipif(kernel._library is None, reason="the compiled loops were not built here")


@pytest.fixture
def checkout(tmp_path):
    """Return a copy of the source, as it was built."""
    shutil.copytree(ROOT / "charlm", tmp_path / "charlm", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def library_of(checkout):
    return next((checkout / "charlm/nn").glob("_kernel.*so"))


def imported(checkout, code="from charlm.nn import kernel; print(kernel.target); print(kernel.missing)", **environment):
    """Run code on the copy; return the lines of stdout and what stderr says."""
    environment = {key: value for key, value in os.environ.items() if key != "CHARLM_KERNEL"} | environment
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, env=environment, capture_output=True, text=True)
    return done.stdout.splitlines(), done.stderr


def edit(checkout):
    with (checkout / "charlm/nn/kernel.c").open("a") as file:
        file.write("/* edited */\n")


def corrupt(checkout):
    library_of(checkout).write_bytes(b"\x7fELF and no more")


def take_anothers(checkout):
    library_of(checkout).rename(checkout / "charlm/nn/_kernel.cpython-399-x86_64-linux-gnu.so")


def take_a_strangers(checkout):
    import _ctypes

    if not getattr(_ctypes, "__file__", None):
        pytest.skip("no other library at hand")
    shutil.copy(_ctypes.__file__, library_of(checkout))


FAULTS = {
    "edited": (edit, "kernel.c or counts.c changed after it was built"),
    "corrupt": (corrupt, "cannot be used ("),
    "another Python's": (take_anothers, "_kernel.cpython-399-x86_64-linux-gnu.so is another Python's"),
    "a stranger's": (take_a_strangers, "cannot be used ("),
}
faults = pytest.mark.parametrize(("make", "message"), FAULTS.values(), ids=FAULTS)


@built
@faults
def test_loops_of_no_use_are_left_with_one_warning(checkout, make, message):
    make(checkout)
    (target, missing), told = imported(checkout)
    assert target == "numpy"
    assert message in missing
    assert missing.endswith(": NumPy does the work of the compiled loops until charlm is installed again")
    assert told.count("UserWarning") == 1
    assert missing in told
    assert "Traceback" not in told


@built
def test_who_wants_numpy_hears_nothing_of_them(checkout):
    edit(checkout)
    assert imported(checkout, CHARLM_KERNEL="numpy") == (["numpy", "CHARLM_KERNEL=numpy says so"], "")


@built
def test_without_a_compiler_there_is_no_warning(checkout):
    library_of(checkout).unlink()
    (target, missing), told = imported(checkout)
    assert (target, told) == ("numpy", "")
    assert missing.startswith("none were built when charlm was installed: install a C compiler")


@built
def test_loops_without_their_source_serve(checkout):
    (checkout / "charlm/nn/kernel.c").unlink()
    assert imported(checkout) == ([kernel.target, "None"], "")


@built
def test_the_tests_say_to_install_again(checkout):
    """In one line, before any test, and not as a warning that ends an import."""
    edit(checkout)
    for name in ("tests", "pyproject.toml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, checkout / name)
    code = "import sys, pytest; sys.exit(pytest.main(['-p', 'no:cacheprovider', 'tests/test_style.py']))"
    shown, told = imported(checkout, code)
    said = "kernel.c or counts.c changed after it was built: NumPy does the work of the compiled loops until"
    said = f"{said} charlm is installed again"
    assert [line for line in [*shown, *told.splitlines()] if line] == [f"ERROR: {said}: pip install -e ."]


@pytest.mark.parametrize("missing", [None, "none were built when charlm was installed"])
def test_info_says_what_computes(missing, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "missing", missing)
    monkeypatch.setattr(kernel, "target", "numpy" if missing else "avx2")
    tiny_model().save(tmp_path / "m.safetensors")
    facts = json.loads(CliRunner().invoke(main, ["info", "-m", f"{tmp_path}/m.safetensors", "--json"]).stdout)
    assert (facts["kernel"], facts["kernel_missing"]) == (kernel.target, missing)
    shown = CliRunner().invoke(main, ["info", "-m", f"{tmp_path}/m.safetensors"]).stdout
    assert f"{'kernel':16}  {kernel.target}\n" in shown
    assert ("kernel missing" in shown) == (missing is not None)
