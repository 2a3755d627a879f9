"""The frame of the page: texts stay texts, data stay data, and the policy fits the bytes
written."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charlm.page
from charlm.page.data import DTYPES, block, packed
from charlm.page.document import Section, document
from charlm.page.markup import Markup, join, tag, text
from charlm.page.script import compact

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!-- <script> -->",
    "]]>&amp;&#0;",
    'a" onload="alert(1)',
    "\0\x01\x1b[31m\x7f",
    "\u2028\u2029\ufeff\ufffe",
    "\udfff\ud800 lone",
    "e" + "\u0301" * 10_000,
    "\u202eright to left\u2066",
    "{{constructor}}${1}`",
    "\r\n\r",
]
all_hostile = pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)


class Reader(HTMLParser):
    """Reads a page as a browser would: elements, attributes, and the text in each script, style and
    body."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts = [], {}
        self._path = []
        self.feed(page)
        self.close()

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        if name not in ("meta", "br"):
            self._path.append(dict(attributes).get("id") or name)

    def handle_endtag(self, name):
        self._path.pop()

    def handle_data(self, data):
        key = self._path[-1] if self._path else ""
        self.texts[key] = self.texts.get(key, "") + data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


def read(page):
    return Reader(page.decode("utf-8"))


def shown(hostile):
    """Return what a page shows of a text: no HTML can hold control characters or lone
    surrogates."""
    return re.sub("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", hostile)


@all_hostile
def test_a_text_stays_a_text(hostile):
    made = str(tag("p", {"title": hostile}, hostile))
    (name, attributes), *others = Reader(made).tags
    assert (name, others) == ("p", [])
    assert attributes == {"title": shown(hostile)}
    assert Reader(made).texts == {"p": shown(hostile)}
    assert ElementTree.fromstring(made).text == shown(hostile)


@given(st.text(st.characters()))
def test_any_text_stays_a_text_in_html_and_in_xml(anything):
    made = str(tag("p", None, anything))
    assert html.unescape(made[3:-4]) == shown(anything)
    assert (ElementTree.fromstring(made).text or "") == shown(anything)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("p", {"style": "color: red"}),
        ("p", {"ONCLICK": "x()"}),
        ("p", {"a b": 1}),
        ("p", {"": 1}),
        ("a", {"href": "https://example.org"}),
        ("a", {"href": "javascript:x()"}),
        ("img", {"src": "data:text/html,x"}),
        ("p><script", {}),
        ("", {}),
    ],
)
def test_what_the_policy_forbids_is_not_made(name, attributes):
    with pytest.raises(ValueError, match=r"no name|no attribute|outside the page"):
        tag(name, attributes)


def test_children_are_texts_unless_markup():
    assert str(join("<", None, Markup("<br>"), 1.5, text(">"))) == "&lt;<br>1.5&gt;"
    assert (
        str(tag("input", {"disabled": True, "hidden": False, "value": None}))
        == '<input disabled="">'
    )


@all_hostile
def test_data_come_back_as_they_were_and_close_no_script(hostile):
    made = str(block("x", {"text": hostile, "names": [hostile, 1, None]}))
    assert made.isascii()
    content = made.removeprefix('<script type="application/json" id="data-x">').removesuffix(
        "</script>"
    )
    assert not re.search("[<>&]", content)
    assert json.loads(content) == {"text": hostile, "names": [hostile, 1, None]}


def test_data_hold_finite_numbers_only():
    with pytest.raises(ValueError, match="JSON compliant"):
        block("x", {"loss": float("nan")})
    with pytest.raises(ValueError, match="unpacks no float64"):
        packed(np.zeros(3))
    with pytest.raises(ValueError, match="not finite"):
        packed(np.array([1, np.inf], np.float16))


def test_packed_arrays_are_in_c_order_whatever_they_were():
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    made = packed(array)
    assert (made["dtype"], made["shape"]) == ("i4", [3, 2])
    assert np.frombuffer(base64.b64decode(made["base64"]), "<i4").tolist() == [0, 3, 1, 4, 2, 5]


@all_hostile
def test_a_page_is_what_its_sections_are(hostile):
    one = Section("one", hostile, tag("p", {"id": "words"}, hostile), {"text": hostile})
    page = read(document(hostile, [one, Section("two", "Two", join("nothing"))]))
    names = [name for name, _ in page.tags]
    assert names.count("script") == 2  # its data, and the page's own
    assert page.texts["title"] == shown(hostile)[:100]
    assert page.texts["words"] == shown(hostile)
    assert json.loads(page.texts["data-one"]) == {"text": hostile}


def test_the_policy_names_the_hashes_of_the_bytes_and_nothing_else():
    content = document("x", [Section("one", "One", join("nothing"))])
    policy = next(its["content"] for name, its in read(content).tags if its.get("http-equiv"))
    digests = {}
    for name in ("script", "style"):
        (written,) = re.findall(rf"<{name}>(.*?)</{name}>".encode(), content, re.DOTALL)
        assert b"\r" not in written
        digests[name] = base64.b64encode(hashlib.sha256(written).digest()).decode()
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests['script']}'; style-src 'sha256-{digests['style']}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_names_of_sections_are_ids_and_differ():
    one = Section("one", "One", join(""))
    for sections in ([one, one], [Section("Not an id", "x", join(""))]):
        with pytest.raises(ValueError, match="different names"):
            document("x", sections)


@pytest.mark.parametrize(
    ("source", "compacted"),
    [
        ("// why\n  a();\n\n    // and\n  b(); // here\n", "a();b();"),
        (
            "x = 'a , b // c'; y = \"( ; )\" + `a ${ b } ;\\` d`",
            "x='a , b // c';y=\"( ; )\"+`a ${ b } ;\\` d`",
        ),
        ("s.replace(/ [/ ;] , /g, ' = ')", "s.replace(/ [/ ;] , /g,' = ')"),
        ("return / a = b /.test(s) ? 1 : a / b / c", "return / a = b /.test(s)?1:a / b / c"),
        ("a = b + +c - -d - e", "a=b + +c - -d-e"),
        ("a = f()\nb = [\n  1,\n]\n!c\n", "a=f()\nb=[1,]\n!c"),
        ("if (a) { b; }\nfor (;;) { c(); }\nwhile (d);", "if(a){b}\nfor(;;){c();}\nwhile(d);"),
        ("const f = (a) => {\n  return a in b;\n};\n", "const f=(a)=>{return a in b};"),
    ],
)
def test_a_script_loses_only_what_its_authors_need(source, compacted):
    assert compact(source) == compacted


FILES = sorted(Path(charlm.page.__file__).parent.glob("*.js"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_scripts_keep_to_what_the_page_allows(path):
    source = path.read_text("utf-8")
    words = r"\b(eval|fetch|import|export|innerHTML|outerHTML|insertAdjacentHTML|Worker|WebAssembly|XMLHttpRequest)\b"
    assert not re.search(rf"{words}|new Function|document\.write|setAttribute\(.style", source)
    # indents are taken away line by line, which would change a string that runs over a line
    assert not [line for line in source.splitlines() if line.count("`") % 2]


def test_the_script_unpacks_what_python_packs(in_node):
    halves = np.concatenate([
        np.arange(65536, dtype=np.uint16).view(np.float16),
        np.array([1.5, -0.0, 6e-8, 65504], np.float16),
    ])  # fmt: skip
    arrays = [halves[np.isfinite(halves)], *(np.array([0, 1, 100], dtype) for dtype in DTYPES)]
    done = in_node(
        ["frame.js"],
        "print(given.map((its) => Array.from(page.unpack(its))));",
        [packed(array) for array in arrays],
    )
    assert [np.array(its).tolist() for its in done] == [
        array.astype(float).tolist() for array in arrays
    ]


def test_an_error_in_a_section_stops_no_other(in_node):
    code = """
    const root = (name) => ({ append: (made) => seen.push(name + ": " + made.children.join(" ")) });
    const seen = [];
    page.element = (name, attributes, ...children) => ({ children });
    document.getElementById = (name) => name.includes("absent") ? null
      : name.startsWith("data-") ? { textContent: '{"n": 7}' } : root(name);
    page.section("first", () => { throw new Error("broken"); });
    page.section("absent", () => seen.push("absent"));
    page.section("second", (root, data) => seen.push("second " + data.n));
    print(seen);
    """
    first, second = in_node(["frame.js"], code)
    assert first.startswith("first: Here this section does not move")
    assert "broken" in first
    assert second == "second 7"
