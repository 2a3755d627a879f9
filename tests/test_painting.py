"""`charlm score` in colour: the steps of surprise, straight columns, and nothing that a text could
colour itself."""

import re

import pytest
from click.testing import CliRunner

from charlm.cli import main
from charlm.cli.painting import padded, token_shown, width
from charlm.scoring import surprise_steps
from tests.test_streams import EVIL, on_a_terminal, posix
from tests.tiny import tiny_model

TEXT = "ab 春a\u0301\x1b[7mb"
STEPS = {
    "": 0, "48;5;230;38;5;16": 1, "48;5;151;38;5;16": 2, "48;5;73;38;5;16": 3,
    "4;48;5;25;38;5;231": 4, "1;4;48;5;17;38;5;231": 5,
}  # fmt: skip
CODES = re.compile(r"\x1b\[([\d;]*)m(.*?)\x1b\[0m")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    path = tmp_path_factory.mktemp("painting")
    tiny_model(sorted(set(TEXT))).save(path / "characters.safetensors")
    tiny_model(["a", "b", "春"], words=True).save(path / "words.safetensors")
    return path


def score(model, *arguments, given=None):
    return CliRunner().invoke(main, ["score", "-m", str(model), *arguments], input=given)


def of_page(line):
    """Return the bits that a line of a token tells, and the step of its colour."""
    (bits,) = re.findall(r"([\d.]+) bits", line)
    code = CODES.search(line)
    return float(bits), STEPS[code[1] if code else ""]


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_tokens_have_the_colour_of_their_bits(kind, models):
    done = score(models / f"{kind}.safetensors", "--per-token", "--color", TEXT)
    lines = [line for line in done.stdout.splitlines() if " bits  rank" in line]
    plain = score(models / f"{kind}.safetensors", "--per-token", TEXT).stdout
    assert CODES.sub(r"\2", done.stdout) == plain
    assert "\x1b" not in plain
    steps = surprise_steps("word" if kind == "words" else "char")
    found = [of_page(line) for line in lines]
    assert [step for _, step in found] == [sum(bits >= each for each in steps) for bits, _ in found]
    assert len({step for _, step in found}) > 1


def test_columns_are_straight_and_spaces_can_be_seen(models):
    plain = score(models / "characters.safetensors", "--per-token", TEXT).stdout
    lines = [line for line in plain.splitlines() if " best: " in line]
    begins = {width(line[: line.index("best:")]) for line in lines}
    assert len(begins) == 1
    tokens = [line.split("rank ")[1].split()[1] for line in lines]
    assert tokens == ["a", "b", "␣", "春", "a", "◌\u0301", "␛", "[", "7", "m", "b", "<eos>"]


@pytest.mark.parametrize(
    ("shown", "columns"),
    [
        ("abc", 3), ("春眠", 4), ("ｱ", 1), ("Ａ", 2), ("e\u0301", 1), ("\u0301", 0), ("한", 2),
        ("\u1112\u1161\u11ab", 2), ("👩‍👩‍👧", 2), ("🇧🇩", 2), ("❤️", 2), ("❤", 1), ("\u200b", 0),
        ("ক্ষ", 2), ("שָ", 1),
    ],
)  # fmt: skip
def test_widths_of_a_terminal(shown, columns):
    assert width(shown) == columns
    assert padded(shown, 6) == shown + " " * (6 - columns)


def test_tokens_are_shown_on_one_line():
    assert [token_shown(each) for each in (" ", "\n", "\u0301", "a b")] == [
        "␣",
        "␊",
        "◌\u0301",
        "a␣b",
    ]
    assert token_shown("") == ""


def test_texts_are_coloured_where_they_stand(models):
    model = models / "characters.safetensors"
    table = score(model, "--color", TEXT, "b").stdout
    first = table.splitlines()[1]
    assert CODES.sub(r"\2", first).endswith(" ab 春a\u0301␛[7mb¶")
    lines = score(model, "--color", "--per-token", TEXT).stdout.splitlines()
    bits = [of_page(line) for line in lines if " bits  rank" in line]
    alone = score(model, "--color", "--no-eos", "a").stdout.splitlines()[0]
    assert alone in [
        f"\x1b[{code}ma\x1b[0m" if step else "a"
        for code, step in STEPS.items()
        if step == bits[0][1]
    ]
    cluster = re.search("[^m]a\u0301", first) or re.search("m(a\u0301)\x1b", first)
    assert cluster, first  # one colour for what is one character


@posix
def test_a_terminal_gets_colours_and_nothing_else_that_drives_it(models, tmp_path, monkeypatch):
    tiny_model(sorted(set(EVIL)), spread=0.1).save(tmp_path / "evil.safetensors")
    tokens = ["score", "-m", tmp_path / "evil.safetensors", "--per-token", EVIL]
    commands = [tokens, [*tokens, "--no-color"], [*tokens[:3], "--color", EVIL], [*tokens, "--tsv"]]
    coloured, plain, text, rows = on_a_terminal(commands)
    assert CODES.search(coloured)
    assert CODES.search(text)
    for shown in (CODES.sub(r"\2", coloured), plain, CODES.sub(r"\2", text), rows):
        assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f]", shown.replace("\r", ""))
    monkeypatch.setenv("NO_COLOR", "1")
    assert on_a_terminal([tokens]) == [plain]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--color", "--json", "a"], "--color needs"),
        (["--color", "--html", "-", "a"], "--color needs"),
        (["--color", "--corpus", "valid"], "--color needs"),
        (["--color", "--whole", "-"], "--per-token"),
    ],
)
def test_what_has_no_place_for_colours_is_refused_by_name(arguments, said, models):
    done = score(models / "characters.safetensors", *arguments, given="a\n")
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_steps_of_words_are_twice_as_high():
    assert surprise_steps("char") == surprise_steps("byte") == [0.5, 1, 2, 4, 8]
    assert surprise_steps("word") == [1, 2, 4, 8, 16]
