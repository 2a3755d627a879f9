"""The page's sections of units and of memory: what their data are, against what the model holds."""

import base64
import html
import json
import re
from importlib import resources

import numpy as np
import pytest

from charlm.explanation import explain
from charlm.inspection import inspect, memory_of
from charlm.page import memory, units
from charlm.page.document import document
from charlm.page.passage import passage_of, steps_of
from charlm.page.script import compact
from charlm.page.svg import drawn
from charlm.text.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer
from tests.test_counts_model import with_counts
from tests.tiny import CELLS, tiny_model

TEXT = 'The "old cat" (a Tom)\nsat.\n\nOn The "mat" (red) It sat'
LETTERS = sorted(set(TEXT))


def unpacked(packed):
    content = base64.b64decode(packed["base64"])
    return np.frombuffer(content, f"<{packed['dtype']}").reshape(packed["shape"])


def words(markup):
    """Return the text that markup shows."""
    return html.unescape(re.sub("<[^>]*>", "", str(markup)))


# --- passages ---------------------------------------------------------------------------------------------------------


def test_a_passage_splits_neither_clusters_nor_tokens():
    texts = ["ae\u0301\nb", "c"]
    letters = passage_of(CharTokenizer(list("abce\u0301\n")), texts, 99)
    assert letters.shown == ["a", "e\u0301", "↵\n", "b", "\n", "c"]
    assert letters.read.tolist() == [1, 3, 4, 5, 5, 6]
    assert letters.first.tolist() == [0, 1, 2, 3, 4, 6]
    assert letters.joined == "\n".join(texts)
    several = passage_of(ByteTokenizer(), texts, 99)
    assert several.shown == letters.shown
    assert several.read.tolist() == [1, 4, 5, 6, 6, 7]
    spaced = passage_of(WordTokenizer(["old", "cat"]), ["old cat!"], 99)
    assert spaced.shown == ["old", " ", "cat", "!"]
    assert spaced.read.tolist() == [1, 1, 2, 3]
    assert spaced.of_part(np.array([0.5, -1, 2])).tolist() == [0.5, 0.5, -1, 2]


@pytest.mark.parametrize(
    ("most", "texts"),
    [(9, ["ab", "cde\u0301f"]), (6, ["ab", "cde\u0301"]), (5, ["ab", "cd"]), (2, ["ab"]), (0, [])],
)
def test_a_passage_ends_where_a_cluster_does(most, texts):
    assert (
        passage_of(CharTokenizer(list("abcdef\u0301")), ["ab", "cde\u0301f"], most).texts == texts
    )


def test_values_have_seven_steps_of_colour():
    assert steps_of(np.array([-9, -2, -0.9, 0, 0.4, 1.1, 2]), 2).tolist() == [0, 0, 2, 3, 4, 5, 6]
    assert steps_of(np.zeros(2), 0).tolist() == [3, 3]


# --- units ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models():
    return {
        cell: tiny_model(LETTERS, sequences="document", layers=2, spread=2, **CELLS[cell])
        for cell in CELLS
    }


@pytest.mark.parametrize("cell", CELLS)
def test_tracks_are_what_the_units_hold(models, cell):
    model = models[cell]
    data = units.section(model, [TEXT], "a text").data
    seen = inspect(model, [TEXT])
    read = 1 + np.arange(len(TEXT))
    values = (
        unpacked(data["values"]) / 127 * unpacked(data["reach"])[:, None]
        + unpacked(data["middle"])[:, None]
    )
    states = np.tanh(seen.trace.states[1]) if "lstm" in cell else seen.trace.states[0]
    gates = {"lstm": 4, "lstm-peephole": 4, "gru": 3, "simple-gru": 2}.get(cell, 0)
    names = (
        ("input gate", "forget gate", "candidate", "output gate")
        if gates == 4
        else ("update gate", "candidate")
    )
    names = ("reset gate", *names) if gates == 3 else names
    assert sum(name.endswith(("state", "memory")) for name in data["names"]) == 12
    found = set()
    for name, value in zip(data["names"], values, strict=True):
        layer, unit, part = re.fullmatch(r"layer (\d), unit (\d), (.+)", name).groups()
        place = int(layer) - 1, int(unit) - 1
        if part in ("state", "memory"):
            assert (part == "memory") == ("lstm" in cell)
            expected = states[read, *place]
        else:
            found.add(part)
            expected = seen.trace.gates[read, place[0], names.index(part), place[1]]
        np.testing.assert_allclose(
            value, expected, atol=0.51 / 127 * max(1, np.abs(expected).max())
        )
    assert found == (set(names) if gates else set())
    assert "".join(data["parts"]) == TEXT.replace("\n", "↵\n")
    assert unpacked(data["read"]).tolist() == list(range(1, len(TEXT) + 1))


def test_units_are_listed_by_what_they_follow(models):
    section = units.section(models["gru"], [TEXT], "a text")
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", str(section.body))
    assert {name for name, _ in rows} >= {
        "inside quotes",
        "inside brackets",
        "capitals",
        "word starts",
    }
    half = len(TEXT) // 2
    quotes = np.array([TEXT[: k + 1].count('"') % 2 for k in range(len(TEXT))])
    seen = inspect(models["gru"], [TEXT]).trace.states[0][1:]
    listed = [cells for name, cells in rows if name == "inside quotes"]
    assert len(listed) == 3
    for cells in listed:
        found = re.search(
            r'data-track="(\d+)">layer (\d), unit (\d), state</span></td><td>(.+?)</td><td>(.+?)</td>',
            cells,
        )
        if found is None:
            continue
        track, layer, unit, *figures = found.groups()
        assert section.data["names"][int(track)] == f"layer {layer}, unit {unit}, state"
        value = seen[:, int(layer) - 1, int(unit) - 1]
        for part, figure in zip((slice(None, half), slice(half, None)), figures, strict=True):
            r = np.corrcoef(value[part], quotes[part])[0, 1]
            assert float(figure.replace("−", "-")) == pytest.approx(r, abs=0.006)


def test_what_no_half_of_a_text_has_is_not_followed(models):
    body = words(units.section(models["gru"], ["sat on the mat"], "a text").body)
    assert body.count("none: not in these tokens") == 3


# --- memory -----------------------------------------------------------------------------------------------------------


def test_each_token_of_the_passage_has_what_moved_it(models):
    data = memory.section([("it", models["lstm"])], [TEXT], "a text").data
    worth, age = unpacked(data["worth"]), unpacked(data["age"])
    assert age.tolist() == list(range(len(TEXT)))
    for place in (1, 2, 20, len(TEXT)):
        found = explain(models["lstm"], TEXT, place)
        expected = [one.worth for one in found.earlier]
        np.testing.assert_allclose(worth[place - 1, :place], expected, rtol=2e-3, atol=1e-6)
        assert not worth[place - 1, place:].any()
        assert unpacked(data["logprob"])[place - 1] == pytest.approx(found.logprob, rel=1e-5)


def test_curves_are_those_of_all_models_with_the_step_where_training_cut(models):
    models["gru"].facts["settings"] = {"seq_len": 17}
    named = [("one", models["gru"]), ("two <b>", models["rnn"])]
    section = memory.section(named, [TEXT], "a text")
    chart = memory._chart([memory._curve(*pair, [TEXT]) for pair in named])
    assert str(drawn(chart)) in str(section.body)
    *lines, cut = chart.lines
    for number, name in enumerate(("gru", "rnn")):
        seen = inspect(models[name], [TEXT])
        expected = memory_of(seen.recall(np.arange(len(TEXT)), 200).slope).quartiles
        assert f"<td>{expected[1, 19]:.2e}</td>" in str(section.body)
        for line, values in zip(lines[3 * number : 3 * number + 3], expected, strict=True):
            np.testing.assert_allclose(line.y, np.maximum(values, 1e-12), rtol=1e-4)
            assert line.x.tolist() == list(range(1, len(values) + 1))
    assert cut.x.tolist() == [17, 17]
    assert cut.label == "gradients cut after 17 steps: one"
    assert "two <b>" in words(section.body)
    del models["gru"].facts["settings"]


def test_tokens_with_little_before_them_are_left_out_where_enough_have_more():
    model = tiny_model("ab", sequences="document")
    for length, first in ((500, 200), (300, 0)):
        found = memory._old(inspect(model, ["ab" * (length // 2)]))
        assert (found[0], found[-1], len(found)) == (first, length - 1, length - first)


def test_where_there_is_nothing_to_see_the_page_says_so(models):
    alone = with_counts(tiny_model("ab"), 2)
    nothing = tiny_model("ab")
    assert "no text" in words(units.section(nothing, [], "no text").body)
    assert "no text" in words(memory.section([("it", nothing)], [], "no text").body)
    assert "no text" in words(memory.section([("it", nothing)], ["a"], "no text").body)
    assert alone is not None


# --- scripts ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(models, tmp_path_factory):
    path = tmp_path_factory.mktemp("units") / "page.html"
    model = models["gru"]
    sections = [
        units.section(model, [TEXT], "a text"),
        memory.section([("it", model)], [TEXT], "a text"),
    ]
    path.write_bytes(document("Units", sections))
    return path, *(section.data for section in sections)


def test_scripts_are_small():
    sizes = [
        len(compact((resources.files("charlm.page") / f"{name}.js").read_text("utf-8")).encode())
        for name in ("passage", "units", "memory")
    ]
    assert sum(sizes) <= 6000


def colours(page, name):
    return page.run(
        "return Array.from(document.querySelectorAll(arguments[0]), (span) => +span.className[1])",
        f"#{name} .text span",
    )


def test_a_unit_is_watched_found_and_chosen(written, page_of):
    path, data, _ = written
    levels, read = unpacked(data["values"]), unpacked(data["read"])

    def expected(track):
        return (
            (3 + np.floor(levels[track, read - 1].astype(float) * 3 / 127 + 0.5))
            .astype(int)
            .tolist()
        )

    with page_of(path) as page:
        assert colours(page, "units") == expected(data["order"][0])
        page.one("#units input").send_keys("\ue009a\ue0003\t")  # all of it replaced
        assert colours(page, "units") == expected(2)
        assert page.one("#units .watched").text == data["names"][2]
        spans = page.all("#units .text span")
        spans[5].click()
        page.keys("\ue008\ue014\ue014")  # Shift and right, twice
        high, low = (button for button in page.all("#units .choice button")[:2])
        high.click()
        spans[20].click()
        low.click()
        values = levels.astype(float) / 127 * unpacked(data["reach"])[:, None]
        difference = values[:, read[5:8] - 1].mean(axis=1) - values[:, read[20] - 1]
        first = page.all("#units .strips button")[0]
        best = int(difference.argmax())
        assert first.text == f"{data['names'][best]} ({difference[best]:.2f})"
        first.click()
        assert colours(page, "units") == expected(best)
        assert page.one("#say").get_attribute("textContent") == data["names"][best]


def test_a_token_is_chosen_and_what_moved_it_coloured(written, page_of):
    path, _, data = written
    worth = unpacked(data["worth"])
    with page_of(path) as page:
        page.all("#memory .text span")[30].click()
        page.keys("\ue012")  # left
        own = worth[29, :29].astype(float)
        steps = np.full(len(data["parts"]), 3)
        steps[:29] += np.floor(3 * own[::-1] / np.abs(own).max() + 0.5).astype(int)
        assert colours(page, "memory") == steps.tolist()
        title = page.one("#memory .watched").text
        best = int(np.abs(own).argmax())
        assert f"{data['names'][28 - best]} {best + 1} back {own[best]:.2f}" in title
        assert page.one("#say").get_attribute("textContent") == title


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nobody_is_shut_out(written, page_of, dark):
    with page_of(written[0], dark=dark) as page:
        assert page.axe() == []


def test_without_script_text_and_figures_stay(written, page_of):
    with page_of(written[0], script=False) as page:
        assert page.one("#units .text p").text.startswith("The")
        assert len(page.all("#memory svg polyline")) == 3
        assert page.all("#units table td")


def test_data_are_json(written):
    _, *data = written
    assert all(json.loads(json.dumps(dict(one), allow_nan=False)) for one in data)
