"""The text coloured by surprise in a real browser: what is coloured, shown and told, and what it
holds out."""

import re

import pytest

from charlm.page.document import document
from charlm.page.parts import read_by
from charlm.page.surprise import beginning, section
from tests.test_page import HOSTILE
from tests.tiny import tiny_model

LEFT, UP, RIGHT, DOWN, SHIFT = "\ue012", "\ue013", "\ue014", "\ue015", "\ue008"  # of WebDriver
ARABIC, BENGALI = "السَّلامُ عَلَيْكُم لا إله", "ক্ষুধা নিয়ে কথা স্ত্রী আন্দোলন"
EMOJI = "👩‍👩‍👧 🇧🇩🇫🇷 e\u0301"
COLOURED = """
const found = [];
for (const [name, mark] of CSS.highlights) for (const range of mark) {
  const node = range.startContainer, block = node.parentNode;
  found.push([name, block.id, range.startOffset, range.endOffset, range.toString()]);
}
return found;
"""


def written(path, models, *texts, names=("one", "two")):
    tokens = sorted(set("".join(texts)) | set("ab"))
    made = [tiny_model(tokens, seed=seed, sequences="document") for seed in range(models)]
    readings = read_by(names[:models], made, texts, True)
    path.write_bytes(document("A text", [section(readings, "a text")]))
    return [list(model.full_scores(texts[0])) for model in made]


def colours(page):
    """Return the colour of each character of the text's first block."""
    found = {}
    for name, block, start, end, _ in page.run(COLOURED):
        if block == "surprise-0" and name not in ("at", "cursor"):
            found |= dict.fromkeys(range(start, end), name)
    return found


def step(value, steps):
    return sum(value >= each for each in steps)


def said(page):
    return page.run("return document.getElementById('say').textContent")


def test_colours_are_those_of_the_bits(tmp_path, page_of):
    text = "abba" * 20 + "e\u0301" * 9  # in the end each character is two tokens
    first, second = written(tmp_path / "page.html", 2, text)
    places = [(k,) for k in range(80)] + [(k, k + 1) for k in range(80, 98, 2)]
    bits, other = (
        [sum(round(its[k].bits, 2) for k in each) for each in places] for its in (first, second)
    )
    ranks = [max(first[k].rank for k in each) for each in places]
    differences = [a - b for a, b in zip(bits, other, strict=True)]
    with page_of(tmp_path / "page.html") as page:
        page.until("CSS.highlights.get('s1').size")
        for mode, letter, values, steps in (
            ("bits 0", "s", bits, [0.5, 1, 2, 4, 8]),
            ("rank 0", "s", ranks, [2, 3, 6, 11, 101]),
            ("difference 1", "d", differences, [-4, -1, -0.25, 0.25, 1, 4]),
        ):
            page.run("const s = document.querySelector('select'); s.value = arguments[0];"
                     "s.dispatchEvent(new Event('change'));", mode)  # fmt: skip
            found = colours(page)
            assert [found[each[0]] for each in places] == [
                f"{letter}{step(v, steps)}" for v in values
            ]
            assert all(found[k + 1] == found[k] for k in range(80, 98, 2))
        shown = [
            its.get_attribute("data-legend")
            for its in page.all("[data-legend]")
            if its.is_displayed()
        ]
        assert shown == ["difference"]


def test_the_arrows_move_a_cursor_and_its_figures_are_told(tmp_path, page_of):
    text = "ab\nba" + ARABIC
    (tokens,) = written(tmp_path / "page.html", 1, text)
    bits = [token.bits for token in tokens]
    with page_of(tmp_path / "page.html") as page:
        page.run("document.querySelector('.text').focus()")

        def cursor(*keys):
            page.keys(*keys)
            (place,) = [its for its in page.run(COLOURED) if its[0] == "cursor"]
            return place[2:]

        assert cursor(RIGHT) == [0, 1, "a"]
        assert f"“a”: {bits[0]:.2f} bits, rank" in said(page)
        assert len(re.findall(r"\d+\.\d%", said(page))) == 3
        assert cursor(RIGHT, RIGHT) == [2, 4, "↵\n"]
        assert f"end of line: {bits[2]:.2f} bits" in said(page)
        assert cursor(LEFT) == [1, 2, "b"]
        assert cursor(DOWN)[2] in "ba"
        assert cursor(UP)[0] < 3
        great = next(k for k in range(3, len(text)) if bits[k] >= 4)
        assert cursor(RIGHT) == [2, 4, "↵\n"]
        assert cursor("n")[0] == great + 1  # behind the sign that the end of the line has got
        page.run("arguments[0].click()", page.all("[data-part]")[0])
        word = page.all("[data-part]")[0].text
        assert word.startswith(cursor(SHIFT)[2])


def test_in_arabic_the_left_arrow_goes_on(tmp_path, page_of):
    written(tmp_path / "page.html", 1, ARABIC)
    with page_of(tmp_path / "page.html") as page:
        page.run("document.querySelector('.text').focus()")
        page.keys(RIGHT, LEFT)
        (place,) = [its for its in page.run(COLOURED) if its[0] == "cursor"]
        assert place[2:] == [1, 2, "ل"]


def test_what_is_pointed_at_is_shown_and_not_told(tmp_path, page_of):
    (tokens,) = written(tmp_path / "page.html", 1, "abba")
    with page_of(tmp_path / "page.html") as page:
        page.run("window.at = function (k) { const r = new Range(), n = document.querySelector('.text p').firstChild;"
                 "r.setStart(n, k); r.setEnd(n, k + 1); const b = r.getBoundingClientRect();"
                 "return [b.x + b.width * arguments[1], b.y + b.height / 2]; }")  # fmt: skip
        for k, share in ((1, 0.2), (2, 0.8), (1, 0.8), (2, 0.2)):  # of its width, from the left
            x, y = page.run("return at(arguments[0], arguments[1])", k, share)
            moved = {"type": "mouseMoved", "x": x, "y": y}
            page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", moved)
            shown = "document.querySelector('.place').innerText.includes(arguments[0])"
            assert page.until(shown, f"“b”: {tokens[k].bits:.2f} bits")
        assert said(page) == ""


@pytest.mark.parametrize("text", [ARABIC, BENGALI, EMOJI], ids=["Arabic", "Bengali", "emoji"])
def test_no_colour_parts_what_is_one_character_or_the_shape_of_a_word(text, tmp_path, page_of):
    """Colours lie over one text node; their ends are where the browser itself parts clusters."""
    written(tmp_path / "page.html", 1, text)
    with page_of(tmp_path / "page.html") as page:
        page.until("CSS.highlights.get('s5').size")
        assert page.run("return document.querySelector('.text p').childNodes.length") == 1
        ends = page.run(
            "const text = document.querySelector('.text p').textContent;"
            "return [...new Intl.Segmenter().segment(text)].map((its) => its.index + its.segment.length);"
        )
        found = page.run(COLOURED)
        assert found
        assert {end for *_, end, _ in found} <= {*ends}
        assert {start for _, _, start, _, _ in found} <= {0, *ends}


def test_hostile_texts_can_be_walked_through(tmp_path, page_of):
    written(tmp_path / "page.html", 1, *HOSTILE, names=["</script>"])
    with page_of(tmp_path / "page.html") as page:
        assert not page.all(".failed")
        page.run("document.querySelector('.text').focus()")
        for keys in ([RIGHT] * 40, ["n"] * 40, [DOWN] * 9, [UP] * 3):
            before = said(page)
            page.keys(*keys)
            assert "bits" in said(page)
            assert said(page) != before
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")


def test_of_a_long_text_what_is_seen_is_coloured_and_on_paper_all(tmp_path, page_of):
    lines = [("ab" * (5 + k % 7)) + "\n" for k in range(14_000)]
    texts, cut, _ = beginning(["".join(lines)])
    assert cut
    assert 199_000 < len(texts[0]) <= 200_000
    written(tmp_path / "page.html", 1, texts[0][:12_000])
    with page_of(tmp_path / "page.html") as page:
        page.until("CSS.highlights.get('s5').size")
        blocks = len(page.all(".text p"))
        seen = {block for _, block, *_ in page.run(COLOURED)}
        assert 0 < len(seen) < blocks / 3
        page.run("dispatchEvent(new Event('beforeprint'))")
        assert len({block for _, block, *_ in page.run(COLOURED)}) == blocks


def test_without_script_text_and_figures_stay(tmp_path, page_of):
    written(tmp_path / "page.html", 2, "abba")
    with page_of(tmp_path / "page.html", script=False) as page:
        assert page.one(".text p").text == "abba¶"
        assert "Bits per character" in page.all("#surprise table")[0].text
        assert not page.one(".choice").is_displayed()
        assert not page.one(".place").is_displayed()


def test_nobody_is_shut_out(tmp_path, page_of):
    written(tmp_path / "page.html", 2, "abba ab\n" * 9)
    for dark, width in ((False, 1280), (True, 360)):
        with page_of(tmp_path / "page.html", dark=dark, width=width) as page:
            page.run("document.querySelector('.text').focus()")
            page.keys(RIGHT)
            assert page.axe() == []
            assert page.run("return document.documentElement.scrollWidth <= innerWidth")
