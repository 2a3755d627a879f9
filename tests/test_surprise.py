"""The text coloured by surprise: its figures are those of `charlm score --per-token`, to the digit
that is shown."""

import base64
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import charlm.page
from charlm.cli import main
from charlm.config import ModelConfig
from charlm.engines.numpy import NumpyEngine
from charlm.language import Language
from charlm.model import Model
from charlm.page.parts import Reading, name_of, parts_of
from charlm.page.surprise import beginning, section
from charlm.text.tokenizers import ByteTokenizer
from tests.test_counts_model import with_counts
from tests.test_page import HOSTILE, read
from tests.tiny import tiny_labelled, tiny_model

HALF = 0.005001  # figures of the page have two digits behind the point
WORDS = ["the", "cat", "sat", ",", "\n"]
TEXTS = {
    "characters": "abba cab\u0301 ক্ষুধা 👩‍👩‍👧 z",
    "counts": "abbaab",
    "bytes": "é ক্ষ\x07 a",
    "words": "The cat, the dog sat",
    "document": "abba\ncab\n\nb",
}


def tiny_bytes():
    tokenizer = ByteTokenizer()
    config = ModelConfig(tokenizer.size, cell="gru", layers=1, hidden=6, embedding=4)
    return Model(
        NumpyEngine(config, 1), config, Language(tokenizer, "line", "sequence"), {"run": "test"}
    )


MODELS = {
    "characters": lambda: tiny_model(sorted(set(TEXTS["characters"]) - {"z"})),
    "counts": lambda: with_counts(tiny_model()),
    "bytes": tiny_bytes,
    "words": lambda: tiny_model(WORDS, words=True),
    "document": lambda: tiny_model("abc\n", sequences="document"),
}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    for name, make in MODELS.items():
        make().save(path / f"{name}.safetensors")
    tiny_labelled().save(path / "labelled.safetensors")
    return path


def charlm_score(room, names, *arguments, given=None):
    models = [word for name in names for word in ("-m", str(room / f"{name}.safetensors"))]
    return CliRunner().invoke(main, ["score", *models, *map(str, arguments)], input=given)


def paged(room, names, *texts):
    """Return the data of the page of texts, and all that stands in its text."""
    done = charlm_score(room, names, "--html", "-", *texts)
    assert done.exit_code == 0, done.stderr
    return data_of(done.stdout), text_of(done.stdout)


def data_of(page):
    return json.loads(read(page.encode()).texts["data-surprise"])


def text_of(page):
    texts = read(page.encode()).texts
    return "".join(value for key, value in texts.items() if re.fullmatch(r"surprise-\d+", key))


def unpacked(packed):
    array = np.frombuffer(base64.b64decode(packed["base64"]), np.dtype(f"<{packed['dtype']}"))
    return array.reshape(packed["shape"])


def tokens_of(data, model=0):
    """Return each token of a model as the page has it: name, bits, rank, and chances of the
    best."""
    its = data["models"][model]
    bits, ranks, own, best, chances = (
        unpacked(its[name]).tolist() for name in ("bits", "ranks", "own", "best", "chances")
    )
    return [
        {
            "name": its["names"][own[k]],
            "bits": bits[k] / 100,
            "rank": ranks[k],
            "unknown": k in its["unknown"],
            "best": [(its["names"][n], c / 100) for n, c in zip(best[k], chances[k], strict=True)],
        }
        for k in range(len(bits))
    ]


def told(room, name, *texts):
    """Return what `charlm score --per-token --json` says of each token, in the same form."""
    done = charlm_score(room, [name], "--per-token", "--json", *texts)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        {
            "name": name_of(token["token"], token["token"] == "<eos>"),
            "bits": token["bits"],
            "rank": token["rank"],
            "unknown": token["unknown"],
            "best": [
                (
                    name_of(its["token"], its["token"] == "<eos>"),
                    100 * math.exp(its["logprob"]),
                )
                for its in token["alternatives"]
            ],
        }
        for line in lines
        for token in line["per_token"]
    ]


@pytest.mark.parametrize("name", MODELS)
def test_the_figures_of_the_page_are_those_of_score(name, room):
    texts = (TEXTS[name], TEXTS[name][::-1])
    data, text = paged(room, [name], *texts)
    expected = told(room, name, *texts)
    assert any(token["unknown"] for token in expected) == (name in ("characters", "words"))
    for found, its in zip(tokens_of(data), expected, strict=True):
        assert {**found, "bits": 0, "best": 0} == {**its, "bits": 0, "best": 0}
        assert found["bits"] == pytest.approx(its["bits"], abs=HALF)
        assert [best for best, _ in found["best"]] == [best for best, _ in its["best"]]
        chances = [chance for _, chance in its["best"]]
        assert [chance for _, chance in found["best"]] == pytest.approx(chances, abs=HALF)
    counts, lengths = unpacked(data["models"][0]["counts"]), unpacked(data["lengths"])
    assert counts.sum() == len(expected)
    assert len(counts) == len(lengths)
    assert lengths.sum() == len(text.encode("utf-16-le")) // 2


def test_several_models_share_the_parts_of_a_text(room):
    """Words, characters and bytes: a part is a word, and has the tokens of each that are in it."""
    text = "abba,  cab\u0301"
    data, shown = paged(room, ["words", "counts", "bytes"], text)
    assert shown == f"{text}¶\n"
    assert unpacked(data["lengths"]).tolist() == [4, 1, 1, 1, 4, 2]
    counts = [unpacked(its["counts"]).tolist() for its in data["models"]]
    assert counts == [[1, 1, 0, 0, 1, 1], [4, 1, 1, 1, 4, 1], [4, 1, 1, 1, 5, 1]]
    for model, name in enumerate(("words", "counts", "bytes")):
        assert [its["bits"] for its in tokens_of(data, model)] == pytest.approx(
            [its["bits"] for its in told(room, name, text)], abs=HALF
        )


def reading_of(model, *texts, name="m"):
    eos = model.counts_eos()
    return Reading(name, model.tokenizer, list(model.scores(texts, eos, per_token=True)))


def test_ends_of_lines_and_of_texts_can_be_seen():
    document = tiny_model("ab\n", sequences="document")
    assert parts_of([reading_of(document, "a\nb", "a")]).shown == ["a", "↵\n", "b", "\n", "a"]
    assert parts_of([reading_of(tiny_model(), "a", "")]).shown == ["a", "¶\n", "¶\n"]
    words = tiny_model(["a"], words=True)
    assert parts_of([reading_of(words, "a \n a")]).shown == ["a", " \n ", "a", "¶\n"]
    assert parts_of([reading_of(tiny_model(), "\x1b[1m\r\x7f\x9b")]).shown == [
        *"␛[1m␍␡\ufffd",
        "¶\n",
    ]


def test_names_of_tokens_can_be_read_out():
    names = [name_of(token) for token in ("e", " ", "\n", "\u0301", "\u200b", "\\xe3", "\0")]
    assert names == ["“e”", "space", "end of line", "“◌\u0301”", "U+200B", "“\\xe3”", "U+0000"]
    assert name_of("<eos>") == "“<eos>”"
    assert name_of("<eos>", end=True) == "end of text"
    assert name_of("a" * 61) == "“a…” (61 characters)"


def test_the_most_surprising_words_are_listed_where_they_cost_most():
    model = tiny_model("abc ")
    texts = ["abc ca abc", "ca bbb"]
    page = str(section([reading_of(model, *texts)], "two texts").body)
    spent = {}
    for text in texts:
        bits = [token.bits for token in model.full_scores(text)]
        for word in re.finditer(r"\S+", text):
            spent.setdefault(word[0], []).append(sum(bits[word.start() : word.end()]))
    rows = re.findall(r'">([abc]+)</a></bdi></th><td>([\d.]+)</td><td>(\d+)</td>', page)
    worst = sorted(spent, key=lambda word: -max(spent[word]))
    assert rows == [(word, f"{max(spent[word]):.1f}", f"{len(spent[word])}") for word in worst]


def test_where_words_are_not_parted_characters_are_listed():
    model = tiny_model("春眠不觉晓")
    page = str(section([reading_of(model, "春眠不觉晓" * 9)], "a poem").body)
    assert "The most surprising characters" in page
    assert len(re.findall(r'">[春眠不觉晓]</a>', page)) == 5


def test_the_strip_has_the_mean_of_each_stretch():
    model = tiny_model("ab")
    text = "abbaab" * 50
    page = str(section([reading_of(model, text)], "a text").body)
    bits = [token.bits for token in model.full_scores(text)]
    bar = np.arange(301) * 100 // 301
    lengths = [1] * 300 + [2]  # the sign of the end is followed by a new line
    means = [
        np.sum(np.array(bits)[bar == k]) / np.sum(np.array(lengths)[bar == k]) for k in range(100)
    ]
    found = [float(value) for value in re.findall(r" %</th><td>([\d.]+)</td>", page)]
    assert found == pytest.approx(means, abs=0.0051)
    heights = [float(value) for value in re.findall(r'height="([\d.]+)"', page)]
    assert heights == pytest.approx([60 * mean / max(means) for mean in means], abs=0.011)


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_hostile_texts_and_names_stay_texts(hostile):
    tokens = sorted({character for character in hostile if character != "\n"})
    readings = [reading_of(tiny_model(tokens), hostile, name=hostile)] * 2
    found = section(readings, hostile)
    page = charlm.page.document.document(hostile, [found]).decode()
    reader = read(page.encode())
    assert [name for name, _ in reader.tags].count("script") == 2
    assert len(text_of(page).encode("utf-16-le")) // 2 == unpacked(found.data["lengths"]).sum()


def test_no_more_is_taken_than_a_page_holds():
    assert beginning(["ab", "cd", "ef"], 6) == (["ab", "cd"], False, False)
    assert beginning(["ab", "cd"], 6) == (["ab", "cd"], False, True)
    assert beginning(["ab " * 30], 61) == (["ab " * 20], True, False)
    assert beginning(iter(["éé"]), 3) == (["é"], True, False)
    assert beginning(["a" * 20 + "e\u0301\u0301"], 22) == (["a" * 20], True, False)
    assert beginning(["\udc80" * 9], 4) == (["\udc80" * 4], True, False)
    assert beginning([], 4) == ([], False, True)


def test_a_text_that_is_cut_has_no_end(room, monkeypatch):
    monkeypatch.setattr("charlm.page.surprise.MOST_BYTES", 5)
    monkeypatch.setattr(beginning, "__defaults__", (5,))
    done = charlm_score(room, ["counts"], "--html", "-", "abbaabba")
    assert "the beginning of a text, up to 5 bytes" in done.stderr
    assert (text_of(done.stdout), len(tokens_of(data_of(done.stdout)))) == ("abbaa", 5)


def test_files_are_read_as_score_reads_them(room, tmp_path):
    (tmp_path / "lines.txt").write_bytes(b"\xef\xbb\xbfabba\r\n\r\ncab\n")
    for name, shown in [("counts", "abba¶\n¶\ncab¶\n"), ("document", "abba↵\n↵\ncab↵\n")]:
        done = charlm_score(room, [name], "--html", "-", "--file", tmp_path / "lines.txt")
        assert text_of(done.stdout) == shown
        done = charlm_score(room, [name], "--html", "-", "--lines", "-", given="abba\ncab\n")
        assert text_of(done.stdout) == ("abba¶\ncab¶\n" if name == "counts" else "abba\ncab")
    done = charlm_score(
        room, ["counts"], "--html", "-", "--shard", "3/3", "--file", tmp_path / "lines.txt"
    )
    assert text_of(done.stdout) == "cab¶\n"


def test_a_page_replaces_nothing_unasked(room, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    done = charlm_score(room, ["counts"], "--html", page, "abba")
    assert (done.exit_code, page.read_text()) == (73, "mine")
    assert "--force" in done.stderr
    done = charlm_score(room, ["counts"], "--html", page, "--force", "abba")
    assert (done.exit_code, done.output) == (0, "")
    assert text_of(page.read_text("utf-8")) == "abba¶\n"


@pytest.mark.parametrize(
    ("names", "arguments", "code", "said"),
    [
        (["counts"], ["--html", "-", "--no-eos", ""], 65, "nothing to score"),
        (["counts"], ["--html", "-", "--per-token", "a"], 2, "--html and --per-token"),
        (["counts"], ["--html", "-", "--json", "a"], 2, "--html and --json"),
        (["counts"], ["--html", "-", "--force", "a"], 2, "--force needs"),
        (["counts"], ["--html", "-", "--corpus", "valid"], 2, "--html and --corpus"),
        (["labelled"], ["--html", "-", "-"], 2, "--label"),
    ],
)
def test_what_cannot_be_is_refused_by_name(names, arguments, code, said, room):
    done = charlm_score(room, names, *arguments, given="a\n")
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr


STEPS = ("s1", "s2", "s3", "s4", "s5", "d0", "d1", "d2", "d4", "d5", "d6")
STYLE = Path(charlm.page.__file__).with_name("surprise.css").read_text("utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--(\w+): ([^;]+);", part)) for part in STYLE.split("@media", 2)[:2]
)


def luminance(colour):
    """The relative luminance of WCAG 2."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_on_every_colour(scheme):
    values = LIGHT if scheme == "light" else LIGHT | DARK
    values = {name: values.get(value[6:-1], value) if value.startswith("var") else value
              for name, value in values.items()}  # fmt: skip
    rules = re.findall(
        r"::highlight\((\w\d)\) \{ background-color: var\(--(\w+)\); color: var\(--(\w+)\)", STYLE
    )
    assert {name for name, _, _ in rules} == {*STEPS}
    for name, background, colour in rules:
        assert contrast(values[background], values[colour]) >= 4.5, name
    for steps in ("s1 s2 s3 s4 s5", "d2 d1 d0", "d4 d5 d6"):  # in grey, too, they are told apart
        lights = [luminance(values[name]) for name in steps.split()]
        assert lights == sorted(lights, reverse=scheme == "light")
        assert all(
            contrast(values[a], values[b]) > 1.15
            for a, b in zip(steps.split(), steps.split()[1:], strict=False)
        )
