"""The commands with taggers: `predict` in every form, the figures of `test` counted here anew,
`score` and `info`."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import charlm
from charlm import tag_gold
from charlm.bio import from_iob2
from charlm.comparison import compare, compare_ratios
from charlm.text.columns import Layout
from tests.test_commands import ROOT, assert_refused, started
from tests.test_commands import charlm as run
from tests.tiny import COMPANY, tiny_classifier, tiny_model, tiny_restorer, tiny_tagger

SENTENCES = [["ab", "ca", "b"], ["abba"], [], ["b", "unheard", "ab", "ca", "ca"], ["ca", "a\\c"]]
SPACED = [" ".join(tokens) for tokens in SENTENCES]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Return a directory with taggers, a classifier and a language model."""
    path = tmp_path_factory.mktemp("room")
    tiny_tagger(longest=6).save(path / "words")
    tiny_tagger(seed=3, crf=True).save(path / "chain")
    tiny_tagger(scheme="IOB1", layout=Layout(tabs=False, tag=2)).save(path / "iob1")
    tiny_tagger(layout=Layout(tabs=True, token=2, tag=4, conllu=True)).save(path / "conllu")
    tiny_tagger(names=("ADJ", "NOUN", "VERB"), scheme=None, read="char").save(path / "pos")
    tiny_restorer(longest=9, seed=1).save(path / "characters")
    tiny_classifier().save(path / "classes")
    tiny_model("abc").save(path / "language")
    return path


@pytest.fixture(scope="module")
def lines(room):
    path = room / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in SPACED))
    return path


@pytest.fixture(scope="module")
def gold(room):
    """Return a file of random words and tags, one of them unseen, and what is in it."""
    rng = np.random.default_rng(5)
    words, tags = (
        ["ab", "ca", "b", "abba", "new"],
        ["O", "O", "O", "B-x", "I-x", "B-y", "I-y", "B-z"],
    )
    found = [
        [(str(rng.choice(words)), str(rng.choice(tags))) for _ in range(rng.integers(1, 9))]
        for _ in range(40)
    ]
    path = room / "gold.tsv"
    path.write_text(
        "".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) + "\n" for sentence in found)
    )
    return path, found


def objects(result):
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def said(room, name, sentences=SENTENCES):
    return list(charlm.load(room / name).predict(sentences))


# --- predict --------------------------------------------------------------------------------------


def test_plain_sentences_become_columns(room, lines):
    """From arguments, a file and stdin alike: a token and its tag a line, and a blank line after
    each sentence."""
    expected = "".join(
        "".join(f"{token}\t{tag}\n" for token, tag in zip(answer.tokens, answer.tags, strict=True))
        + "\n"
        for answer in said(room, "words")
    )
    from_file = run("predict", "-m", room / "words", "--file", lines)
    assert from_file.stdout == expected
    assert from_file.stderr == (
        "charlm: plain sentences, because the first line has no tab (columns: --columns)\n"
    )
    quiet = run("predict", "-m", room / "words", "--plain", "-", stdin=lines.read_bytes())
    assert (quiet.stdout, quiet.stderr) == (expected, "")
    assert run("predict", "-m", room / "words", "--", *SPACED).stdout == expected


def test_columns_keep_all_that_they_have_and_get_one_more(room):
    text = "# about it\nab\t1\tx y\nca\t2\t\n\n-DOCSTART-\t-\t-\n\n\n# 2 #\nunheard\t\tz\n#\ttag\t.\nca\t \tO"
    model = charlm.load(room / "words")
    first, second = model.predict([["ab", "ca"], ["unheard", "#", "ca"]])
    tags = iter([*first.tags, *second.tags])
    expected = "".join(
        f"{line}\n" if not line or line.startswith(("# ", "-DOC")) else f"{line}\t{next(tags)}\n"
        for line in text.split("\n")
    )
    result = run("predict", "-m", room / "words", "-", stdin=text)
    assert result.stdout == expected
    assert (
        result.stderr
        == "charlm: columns, because the first line has a tab (plain sentences: --plain)\n"
    )
    assert (
        run("predict", "-m", room / "words", "-", stdin=text.replace("\n", "\r\n")).stdout
        == expected
    )


def test_columns_of_conllu(room):
    rest = "\t_" * 8
    text = f"# text = ab ca\n1-2\tabca{rest}\n1\tab{rest}\n2\tca{rest}\n2.1\tb{rest}\n\n"
    (answer,) = charlm.load(room / "conllu").predict([["ab", "ca"]])
    tagged = run("predict", "-m", room / "conllu", "-", stdin=text).stdout.splitlines()
    before = text.splitlines()
    assert [tagged[k] for k in (0, 1, 4, 5)] == [before[k] for k in (0, 1, 4, 5)]
    assert tagged[2:4] == [f"{before[k + 2]}\t{tag}" for k, tag in enumerate(answer.tags)]


def test_conllu_has_its_words_second_where_training_had_them_first(room):
    """Its first column only counts: a tagger that learnt from two columns reads words all the
    same."""
    rest = "\t_" * 6
    text = f"# text = ab ca\n1-2\tabca\t_\t_{rest}\n1\tab\t_\tO{rest}\n2\tca\t_\tB-x{rest}\n\n"
    said = run("predict", "-m", room / "words", "--json", "-", stdin=text).stdout
    assert said == run("predict", "-m", room / "words", "--json", "ab ca").stdout
    for command in ("test", "score"):
        figures, again = (
            run(command, "-m", room / "words", "--json", "-", stdin=gold).stdout
            for gold in (text, "ab\tO\nca\tB-x\n\n")
        )
        assert json.loads(figures) == json.loads(again)


def test_what_was_tagged_in_conllu_can_be_read_again(room):
    """With its eleven columns it is still CoNLL-U: ranges, empty nodes and comments are no
    words."""
    rest = "\t_" * 6
    text = f"# text = ab ca\n1-2\tabca\t_\t_{rest}\n1\tab\t_\tx{rest}\n2\tca\t_\ty{rest}\n2.1\tb\t_\t_{rest}\n\n"
    tagged = run("predict", "-m", room / "conllu", "-", stdin=text).stdout
    twice = run("predict", "-m", room / "conllu", "-", stdin=tagged).stdout.splitlines()
    ends = [line.rsplit("\t", 1)[1] for line in tagged.splitlines()[2:4]]
    assert [line.count("\t") for line in twice] == [0, 9, 11, 11, 9, 0]
    assert [line.split("\t")[-2:] for line in twice[2:4]] == [[tag, tag] for tag in ends]
    figures, again = (
        run("test", "-m", room / "conllu", "--json", "-", stdin=gold).stdout
        for gold in (text, tagged)
    )
    assert json.loads(figures)["tokens"] == 2
    assert json.loads(again) == json.loads(figures)


def test_columns_by_white_space(room):
    """Where the file has no tab, --columns says what it is; all stays as it is, and spans are as
    IOB1 has them."""
    text = "ab  x\nca y\n\nb z\n"
    tags = [
        tag
        for answer in charlm.load(room / "iob1").predict([["ab", "ca"], ["b"]])
        for tag in answer.tags
    ]
    result = run("predict", "-m", room / "iob1", "--columns", "-", stdin=text)
    assert result.stdout == f"ab  x {tags[0]}\nca y {tags[1]}\n\nb z {tags[2]}\n"
    two, one = said(room, "words"), said(room, "iob1")
    for a, b in zip(two, one, strict=True):
        assert list(b.tags) == from_iob2(list(a.tags), "IOB1")


def test_the_first_line_that_tells_decides(room):
    sure = {"\n \n# a comment\n#x\nab\tca\n": True, "# all\n# are\n": False, "ab ca\nab\tca\n": False,
            "-DOCSTART- -X-\n\nab\tO\n": True, "\n": False, "": False}  # fmt: skip
    for text, columns in sure.items():
        told = run("predict", "-m", room / "words", "-", stdin=text).stderr
        assert told.startswith(
            "charlm: columns, because" if columns else "charlm: plain sentences, because"
        ), text


def test_json_has_what_python_has(room, lines):
    for name in ("words", "chain", "pos"):
        found = objects(run("predict", "-m", room / name, "--file", lines, "--json"))
        for values, answer in zip(found, said(room, name), strict=True):
            marked = [
                {"type": span.kind, "start": span.start, "end": span.stop,
                 "text": " ".join(answer.tokens[span.start : span.stop])} for span in answer.spans
            ]  # fmt: skip
            assert values == {
                "tokens": list(answer.tokens), "tags": list(answer.tags), "spans": marked,
                "probabilities": list(answer.probabilities), "unknown": answer.unknown, "pieces": answer.pieces,
            }  # fmt: skip
        assert [values["unknown"] for values in found] == [0, 0, 0, 1, 1]
        assert any(values["spans"] for values in found) == (name != "pos")
    columns = "".join(
        "".join(f"{token}\tX\n" for token in tokens) + "\n" for tokens in SENTENCES if tokens
    )
    again = objects(run("predict", "-m", room / name, "-", "--json", stdin=f"# one\n\n{columns}"))
    assert again == [values for values in found if values["tokens"]]


def test_tsv_says_what_json_says(room, lines):
    found = objects(run("predict", "-m", room / "words", "--file", lines, "--json"))
    text = run("predict", "-m", room / "words", "--file", lines, "--tsv").stdout
    header, *rows = csv.reader(io.StringIO(text), delimiter="\t")
    assert header == ["sentence", "token", "tag", "probability"]
    assert rows == [
        [str(number), token.replace("\\", "\\\\"), tag, str(p)]
        for number, values in enumerate(found, start=1)
        for token, tag, p in zip(
            values["tokens"], values["tags"], values["probabilities"], strict=True
        )
    ]


def test_sentences_that_are_long_are_told(room):
    result = run("predict", "-m", room / "words", "ab", "ca " * 15, "--json")
    assert [values["pieces"] for values in objects(result)] == [1, 3]
    assert result.stderr == "charlm: 1 of 2 sentences was longer than 6 steps and read in pieces\n"


def test_shards_are_of_sentences(room, lines):
    for source, options in (
        (lines.read_text(), ["--plain"]),
        ("a\tx\nb\ty\n\nc\tz\n\nb\tx\nb\tx\n", ["--columns"]),
    ):
        whole = objects(run("predict", "-m", room / "words", "-", "--json", *options, stdin=source))
        parts = [
            objects(
                run(
                    "predict",
                    "-m",
                    room / "words",
                    "-",
                    "--json",
                    *options,
                    "--shard",
                    f"{k}/2",
                    stdin=source,
                )
            )
            for k in (1, 2)
        ]
        assert [part.pop(0) for k in range(len(whole)) for part in [parts[k % 2]]] == whole


def test_characters_are_restored_line_by_line(room):
    texts = ["ab ca\tb", "", "a\u0308b", "abcabcabcabc"]
    answers = list(charlm.load(room / "characters").predict(texts))
    stdin = "".join(f"{text}\n" for text in texts)
    result = run("predict", "-m", room / "characters", "-", stdin=stdin)
    assert result.stdout == "".join(f"{answer.text}\n" for answer in answers)
    assert result.stderr == "charlm: 1 of 4 sentences was longer than 9 steps and read in pieces\n"
    assert any(answer.text != text for answer, text in zip(answers, texts, strict=True))
    found = objects(run("predict", "-m", room / "characters", "--json", "--", *texts))
    assert found == [
        {
            "text": "".join(answer.tokens),
            "target": answer.text,
            "unknown": answer.unknown,
            "pieces": answer.pieces,
        }
        for answer in answers
    ]
    assert found[2]["text"] == "\u00e4b"
    assert found[2]["unknown"] == 1
    table = run("predict", "-m", room / "characters", "--tsv", "-", stdin=stdin).stdout.splitlines()
    assert table[0] == "text\ttarget"
    assert table[1] == "ab ca\\tb\t" + answers[0].text.replace("\t", "\\t")


def test_a_sentence_is_answered_as_its_blank_line_comes(room):
    with started("predict", "-m", room / "words", "-", stdin=subprocess.PIPE) as process:
        for token in (b"ab", b"ca"):
            process.stdin.write(token + b"\tO\n\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(token + b"\tO\t")
            assert process.stdout.readline() == b"\n"
        process.stdin.close()
        assert b"columns, because" in process.stderr.read()
    assert process.returncode == 0


def test_a_shard_is_answered_whatever_else_has_come(room):
    for text, options in ((b"ab\nca\n", ["--plain"]), (b"ab\tx\n\nca\tx\n\n", ["--columns"])):
        command = ["predict", "-m", room / "words", "-", "--shard", "1/2", *options]
        with started(*command, stdin=subprocess.PIPE) as process:
            process.stdin.write(text)
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"ab\t")
            process.stdin.close()
            assert process.stdout.read() == b"\n"
            assert process.stderr.read() == b""


def test_a_restored_text_has_all_that_it_had(room):
    """Control characters in a pipe, too; an argument of two lines is one."""
    text = "a\x1b[1m b\r\x0bc\u2028"
    (answer,) = charlm.load(room / "characters").predict([text])
    assert run("predict", "-m", room / "characters", text).stdout == answer.text + "\n"
    assert "\x0b" in answer.text
    assert run("predict", "-m", room / "characters", "c\nc").stdout.count("\n") == 1


def test_a_plain_sentence_is_answered_as_the_input_pauses(room):
    texts = [
        ("words", b"#ab\n", b"#ab\t"),
        ("characters", b"cc\n", b"cc\n"),
    ]  # the first may begin columns
    for name, text, answer in texts:
        with started("predict", "-m", room / name, "-", stdin=subprocess.PIPE) as process:
            for _ in range(2):
                process.stdin.write(text)
                process.stdin.flush()
                assert process.stdout.readline().startswith(answer[:2])
                if name == "words":
                    assert process.stdout.readline() == b"\n"
            process.stdin.close()
            process.stderr.read()
        assert process.returncode == 0


@pytest.mark.parametrize(("model", "options", "words"), [
    ("words", ["a", "--top", "2"], ["leave --top out"]),
    ("words", ["a", "--threshold", "0.5"], ["leave --threshold out"]),
    ("words", ["a", "--columns"], ["leave --columns out"]),
    ("words", ["a", "--plain"], ["leave --plain out"]),
    ("words", ["a", "--json", "--tsv"], ["--json and --tsv"]),
    ("words", [], ["give texts to label"]),
    ("characters", ["-", "--columns"], ["leave --columns out"]),
    ("classes", ["-", "--columns"], ["leave --columns out"]),
    ("classes", ["-", "--plain"], ["leave --plain out"]),
])  # fmt: skip
def test_what_does_not_go_together(room, model, options, words):
    assert_refused(run("predict", "-m", room / model, *options, stdin=""), 2, *words)


def test_columns_that_do_not_fit(room):
    wrong = run("predict", "-m", room / "conllu", "--columns", "-", stdin="x ab\nca\n")
    assert (wrong.exit_code, "line 2 has 1 column, where 2 are needed" in wrong.stderr) == (
        65,
        True,
    )
    one = run(
        "predict", "-m", room / "conllu", "--columns", "-", stdin="ab\nca\n"
    )  # a single column is the words
    assert [line.split(" ")[0] for line in one.stdout.splitlines()] == ["ab", "ca"]
    assert_refused(run("sample", "-m", room / "words"), 2, "task tag", "charlm predict")


# --- test -----------------------------------------------------------------------------------------


def figures_of(*arguments, **options):
    result = run("test", *arguments, "--json", **options)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def spans_by_hand(tags):
    """Return spans (kind, start, stop) by conlleval's rule, from a string of one letter a tag."""
    found = set()
    for kind in {tag[2:] for tag in tags} - {""}:
        letters = "".join(tag[0] if tag[2:] == kind else "O" for tag in tags)
        found |= {(kind, *match.span()) for match in re.finditer("[BI]I*", letters)}
    return found


def test_the_figures_are_those_counted_here(room, gold):
    path, sentences = gold
    for name in ("words", "chain"):
        model = charlm.load(room / name)
        answers = list(model.predict([[word for word, _ in sentence] for sentence in sentences]))
        found = figures_of("-m", room / name, path)
        pairs = [
            (word, tag, own) for sentence, answer in zip(sentences, answers, strict=True)
            for (word, tag), own in zip(iob2_of(sentence), answer.tags, strict=True)
        ]  # fmt: skip
        assert found["accuracy"] == sum(tag == own for _, tag, own in pairs) / len(pairs)
        assert found["majority"] == sum(tag == "O" for _, tag, _ in pairs) / len(pairs)
        unknown = [tag == own for word, tag, own in pairs if word == "new"]
        assert (found["unknown"], found["unknown_accuracy"]) == (
            len(unknown),
            sum(unknown) / len(unknown),
        )
        assert found["unseen"] == sum(tag in ("B-z", "I-z") for _, tag, _ in pairs)
        assert (found["tokens"], found["sentences"]) == (len(pairs), 40)
        right, golds, saids = Counter(), Counter(), Counter()
        for sentence, answer in zip(sentences, answers, strict=True):
            ours, theirs = (
                spans_by_hand(tags) for tags in ([tag for _, tag in sentence], answer.tags)
            )
            for counter, some in ((golds, ours), (saids, theirs), (right, ours & theirs)):
                counter.update(kind for kind, _, _ in some)
        total = [counter.total() for counter in (right, golds, saids)]
        assert found["span_f1"] == pytest.approx(2 * total[0] / (total[1] + total[2]))
        assert found["precision"] == pytest.approx(total[0] / total[2])
        assert found["recall"] == pytest.approx(total[0] / total[1])
        by_type = {one["type"]: (one["right"], one["gold"], one["said"]) for one in found["spans"]}
        assert by_type == {
            kind if kind != "z" else "?": (right[kind], golds[kind], saids[kind])
            for kind in golds | saids
        }
        wrong = Counter((tag, own) for _, tag, own in pairs if tag != own)
        listed = {(one["gold"], one["said"]): one["tokens"] for one in found["confusions"]}
        assert listed.items() <= wrong.items()
        assert sorted(listed.values()) == sorted(count for _, count in wrong.most_common(10))
        table = {one["tag"]: one["tokens"] for one in found["tags"]}
        assert {tag: count for tag, count in table.items() if count} == Counter(
            tag for _, tag, _ in pairs
        )


def iob2_of(sentence):
    """Return a sentence with a span's first tag a B-, whatever it was."""
    before = ("O", "")
    for word, tag in sentence:
        own = tag if tag[0] != "I" or (before[0] != "O" and before[1] == tag[2:]) else f"B{tag[1:]}"
        before = (tag[0], tag[2:])
        yield word, own


def test_the_nats_are_those_of_score(room, gold):
    path, _ = gold
    for name in ("words", "chain"):
        found = figures_of("-m", room / name, path)
        scored = objects(run("score", "-m", room / name, "--file", path, "--json"))
        known = sum(one["tokens"] - one["unknown"] for one in scored)
        assert found["nats"] == pytest.approx(
            -sum(one["logprob"] for one in scored) / known, rel=1e-9
        )


def test_tags_that_mark_no_spans(room):
    text = "ab\tNOUN\nca\tVERB\n\nb\tADJ\nabba\tNEW\n"
    found = figures_of("-m", room / "pos", "-", stdin=text)
    (one, two) = charlm.load(room / "pos").predict(["ab ca", "b abba"])
    expected = np.mean(
        [a == b for a, b in zip(("NOUN", "VERB", "ADJ", "NEW"), one.tags + two.tags, strict=True)]
    )
    assert (found["accuracy"], found["span_f1"], found["spans"]) == (expected, None, [])
    assert {one["tag"]: one["tokens"] for one in found["tags"] if one["tokens"]} == {
        "NOUN": 1, "VERB": 1, "ADJ": 1, "NEW": 1,
    }  # fmt: skip
    told = run("test", "-m", room / "pos", "-", stdin=text).stdout
    assert "unseen tags     1, counted as wrong: NEW\n" in told
    assert told.splitlines()[0] == "majority        25.00 % if it were always VERB"


def test_characters_and_words_that_are_right(room):
    """Beside what keeping everything would reach."""
    targets = [("ab ca", "?! ca"), ("cc  b", "cc  !"), ("a", "a")]
    text = "".join(f"{source}\t{target}\n" for source, target in targets)
    found = figures_of("-m", room / "characters", "-", stdin=text)
    said = [
        answer.text
        for answer in charlm.load(room / "characters").predict([source for source, _ in targets])
    ]
    triples = [(source, own, target) for own, (source, target) in zip(said, targets, strict=True)]
    characters = [a == b for _, own, target in triples for a, b in zip(own, target, strict=True)]
    words = [a == b for triple in triples for a, b in worded(*triple)]
    assert (found["accuracy"], found["word_accuracy"]) == (np.mean(characters), np.mean(words))
    assert (found["words"], found["tokens"]) == (5, 11)
    assert (found["kept_accuracy"], found["kept_word_accuracy"]) == (8 / 11, 3 / 5)
    assert found["accuracy"] != found["kept_accuracy"]
    told = run("test", "-m", room / "characters", "-", stdin=text).stdout
    assert told.startswith(
        "kept            72.73 % of characters, 60.00 % of words, if all were kept as they are\n"
    )
    assert "(keep) -> " in told or " -> (keep)" in told


def worded(source, *others):
    """Return what stands in the place of each word of a source."""
    return [
        tuple(other[slice(*match.span())] for other in others)
        for match in re.finditer(r"\S+", source)
    ]


def test_the_same_from_several_files_stdin_and_in_small_pieces(room, gold, monkeypatch):
    path, _ = gold
    found = figures_of("-m", room / "words", path)
    half = path.read_text().index("\n\n", 300) + 2
    (room / "a.tsv").write_text(path.read_text()[:half])
    (room / "b.tsv").write_text(path.read_text()[half:])
    assert figures_of("-m", room / "words", "-", stdin=path.read_bytes()) == found
    close = {
        name: pytest.approx(value, rel=1e-9) if name == "nats" else value
        for name, value in found.items()
    }
    assert figures_of("-m", room / "words", room / "a.tsv", room / "b.tsv") == close
    assert figures_of("-m", room / "words", "--threads", 2, path) == close
    monkeypatch.setattr(tag_gold, "_SENTENCES", 3)
    assert figures_of("-m", room / "words", path) == close


def test_what_stands_first_and_what_below(room, gold):
    path, _ = gold
    told, values = (
        run("test", "-m", room / "words", path).stdout,
        figures_of("-m", room / "words", path),
    )
    lines = told.splitlines()
    assert lines[0] == f"majority        {100 * values['majority']:.2f} % if it were always O"
    right = round(values["tokens"] * values["accuracy"])
    assert (
        lines[1]
        == f"accuracy        {100 * values['accuracy']:.2f} % ({right} of {values['tokens']} words)"
    )
    assert f"span F1         {values['span_f1']:.4f} (precision {values['precision']:.4f}, " in told
    assert "by conlleval's rule\n" in told
    assert [line.split()[-1] for line in lines[lines.index("") + 2 :] if "." in line] == [
        "x",
        "y",
        "?",
    ]
    assert re.search(
        r"^long +\d+ of 40 sentences of more than 6 steps, read in pieces$", told, re.MULTILINE
    )


def test_models_are_compared_sentence_by_sentence(room, gold):
    path, _ = gold
    found = figures_of("-m", room / "words", "-m", room / "chain", path)
    alone = [figures_of("-m", room / name, path) for name in ("words", "chain")]
    assert found["sentences"] == 40
    for one, name, values in zip(found["models"], ("words", "chain"), alone, strict=True):
        assert one == {"model": str(room / name)} | values
    (pair,) = found["comparisons"]
    assert pair["figure"] == "span_f1"
    assert pair["difference"] == pytest.approx(alone[0]["span_f1"] - alone[1]["span_f1"])
    assert pair["interval"][0] < pair["difference"] < pair["interval"][1]
    told = run("test", "-m", room / "words", "-m", room / "chain", path)
    assert f"{100 * pair['difference']:+.2f} points of span F1 (95 % interval " in told.stdout
    assert f"ahead in {pair['ahead']} of 40 sentences" in told.stdout
    (same,) = figures_of("-m", room / "words", "-m", room / "words", path)["comparisons"]
    assert (same["difference"], same["interval"], same["ahead"], same["better"]) == (
        0,
        [0, 0],
        0,
        None,
    )


def test_taggers_without_spans_are_compared_by_accuracy(room):
    tiny_tagger(names=("ADJ", "NOUN", "VERB"), scheme=None, seed=5).save(room / "other")
    text = (
        "".join(
            f"{word}\t{tag}\n"
            for word in ("ab", "ca", "b")
            for tag in ("NOUN", "VERB", "ADJ", "NEW")
        )
        + "\n"
    )
    models = ["-m", room / "pos", "-m", room / "other"]
    found = figures_of(*models, "-", stdin=text * 12)
    (pair,) = found["comparisons"]
    accuracy = [one["accuracy"] for one in found["models"]]
    assert (pair["figure"], pair["difference"]) == (
        "accuracy",
        pytest.approx(accuracy[0] - accuracy[1]),
    )
    told = run("test", *models, "-", stdin=text * 12)
    assert f"{100 * pair['difference']:+.2f} points of accuracy (95 % interval" in told.stdout
    assert f"charlm: {room / 'pos'}: unseen tags: 36, counted as wrong: NEW\n" in told.stderr
    few = run("test", *models, "-", stdin=text).stdout
    assert "no interval from fewer than 10 texts" in few


def test_an_interval_of_ratios_is_that_of_means_where_all_weigh_alike():
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 8, (2, 300))
    weights = np.full(300, 7)
    by_ratio = compare_ratios(
        np.stack([first, weights], axis=1), np.stack([second, weights], axis=1)
    )
    by_mean = compare(first / 7, second / 7)
    assert (by_ratio.mean, by_ratio.better) == (pytest.approx(by_mean.mean), by_mean.better)
    width = by_mean.high - by_mean.low
    assert by_ratio.low == pytest.approx(by_mean.low, abs=0.1 * width)
    assert by_ratio.high == pytest.approx(by_mean.high, abs=0.1 * width)


def test_what_cannot_be_tested(room, gold, tmp_path):
    path, _ = gold
    assert_refused(run("test", "-m", room / "words", "-m", room / "classes", path), 2, "one by one")
    assert_refused(run("test", "-m", room / "words", "-m", room / "conllu", path), 2, "one by one")
    assert_refused(
        run("test", "-m", room / "words", "-m", room / "characters", path), 2, "one by one"
    )
    assert_refused(
        run("test", "-m", room / "words", "--labels", "tab", path), 2, "leave --labels out"
    )
    assert_refused(run("test", "-m", room / "words", tmp_path / "none"), 66, "none")
    assert_refused(run("test", "-m", room / "words", "-", stdin="\n\n"), 65, "no t")
    assert_refused(run("test", "-m", room / "words", "-", stdin="a\tO\n\nb\n"), 65, "line 3")
    assert_refused(run("test", "-m", room / "characters", "-", stdin="ab\tabc\n"), 65, "line 1")


# --- score and info -------------------------------------------------------------------------------


def test_the_log_probability_of_tags_is_that_of_python(room, gold):
    path, sentences = gold
    for name in ("words", "chain"):
        found = objects(run("score", "-m", room / name, "--file", path, "--json"))
        pairs = [([word for word, _ in one], [tag for _, tag in one]) for one in sentences]
        scores = list(charlm.load(room / name).scores(pairs))
        for values, score, (words, tags) in zip(found, scores, pairs, strict=True):
            assert values == {
                "text": " ".join(words), "tags": tags, "logprob": pytest.approx(score.logprob, rel=COMPANY),
                "tokens": len(tags), "unknown": score.unknown, "perplexity": None, "perplexity_known": None,
                "bits_per_char": None, "why_no_bits_per_char": "tags are scored, and no text",
            }  # fmt: skip
        assert sum(values["unknown"] for values in found) > 0
    result = run("score", "-m", room / name, "-", "--json", stdin=path.read_bytes())
    assert objects(result) == found
    total = sum(values["logprob"] for values in found)
    assert result.stderr.startswith(f"total of 40 sentences: {total:.4f} nats, ")


@pytest.mark.parametrize("name", ["words", "chain"])
def test_each_tag_has_its_own(room, gold, name):
    path, _ = gold
    found = objects(run("score", "-m", room / name, "--file", path, "--json", "--per-token"))
    for values in found:
        each = [one["logprob"] for one in values["per_token"]]
        assert [one["tag"] for one in values["per_token"]] == values["tags"]
        assert sum(one for one in each if one is not None) == pytest.approx(
            values["logprob"], abs=1e-9
        )
        assert each.count(None) == values["unknown"]
    header, *rows = run(
        "score", "-m", room / name, "--file", path, "--tsv", "--per-token"
    ).stdout.splitlines()
    assert header.split("\t") == ["text_number", "token", "tag", "logprob"]
    assert [float(row.split("\t")[3]) for row in rows if not row.endswith("NA")] == [
        one["logprob"]
        for values in found
        for one in values["per_token"]
        if one["logprob"] is not None
    ]
    table = run("score", "-m", room / name, "--file", path).stdout.splitlines()
    assert [line.split()[0] for line in table[1:]] == [
        f"{values['logprob']:.4f}" for values in found
    ]
    header, *rows = run("score", "-m", room / name, "--file", path, "--tsv").stdout.splitlines()
    assert [row.split("\t")[0] for row in rows] == [str(values["logprob"]) for values in found]
    assert header.startswith("logprob\ttokens\tunknown\t")


def test_pairs_of_characters_are_scored(room):
    (values,) = objects(
        run("score", "-m", room / "characters", "-", "--json", "--per-token", stdin="ab\t?b\n")
    )
    assert values["tags"] == ["?", ""]
    assert math.isfinite(values["logprob"])
    assert [one["token"] for one in values["per_token"]] == ["a", "b"]


@pytest.mark.parametrize(("options", "words"), [
    (["ab"], ["--file FILE or -"]),
    (["-", "--label", "x"], ["leave --label out"]),
    (["ab", "--label", "x"], ["leave --label out"]),
    (["-", "--no-eos"], ["--eos"]),
    (["-", "--nbest"], ["--nbest"]),
    (["-", "--whole"], ["--whole"]),
    (["--corpus", "valid"], ["--corpus"]),
    (["-", "--format", "kenlm"], ["kenlm"]),
    (["-", "--engine", "torch"], ["leave --engine out"]),
    (["-", "--mix", "1"], ["mix needs several"]),
])  # fmt: skip
def test_what_a_tagger_cannot_score_is_refused_by_name(room, options, words):
    assert_refused(run("score", "-m", room / "words", *options, stdin=""), 2, *words)


def test_several_models_are_for_test(room):
    for other in ("chain", "classes", "language"):
        assert_refused(
            run("score", "-m", room / "words", "-m", room / other, "-", stdin=""), 2, "charlm test"
        )


def test_info_tells_the_tags(room):
    facts = json.loads(run("info", "-m", room / "words", "--json").stdout)
    assert (facts["task"], facts["tagged"], facts["scheme"], facts["char_hidden"]) == (
        "tag",
        "words",
        "IOB2",
        3,
    )
    assert facts["tags"][0] == {"tag": "B-x", "tokens": 1}
    weights = charlm.load(room / "words").trained.tensors()
    assert facts["parameters"] == sum(value.size for value in weights.values())
    shown = run("info", "-m", room / "characters").stdout
    assert re.search(r"^tags +3: \(keep\) 3, ! 2, \? 1$", shown, re.MULTILINE)


# --- the README -----------------------------------------------------------------------------------

SECTION = (ROOT / "README.md").read_text(encoding="utf-8").split("### Tags: ")[1].split("\n### ")[0]
HORSE = "P\u0159\u00edli\u0161 \u017elu\u0165ou\u010dk\u00fd k\u016f\u0148"
SHELL = f'set -e; charlm() {{ {sys.executable} -m charlm "$@"; }}; python() {{ {sys.executable} "$@"; }}\n'


def test_the_readmes_commands_run(tmp_path):
    """As they stand there, but for two steps of training."""
    commands = [line[2:] for line in SECTION.splitlines() if line.startswith("$ ")]
    assert [command.split()[1] for command in commands[1:]] == [
        "train",
        "predict",
        "predict",
        "test",
        "score",
    ]
    (tmp_path / "data").symlink_to(ROOT / "data")
    script = SHELL + "\n".join(commands).replace("--epochs 15", "--steps 2")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(b"Lomoria\t")
    code = SECTION.split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_any_text_makes_a_training_set(tmp_path):
    """Of accents and, with the change that stands there, of capitals; lengths are equal whatever
    the text."""
    text = f"{HORSE}\n\n  u\u0308 e\u0301\tb \n\u0130 \u1e66 \uac00 \ufb03\n" * 9
    (tmp_path / "book.txt").write_text(text)
    block = SECTION.split("take the accents off")[-1].split("```\n")
    script = next(part for part in block if part.startswith("python3 -c"))
    strip, lower = "u.normalize('NFD', c)[0]", "c.lower()[0]"
    assert strip in script
    assert f"with `{lower}` in place of `{strip}`" in SECTION
    short = script.replace("-m accents &&", "-m accents --steps 2 &&").replace("python3", "python")
    done = subprocess.run(["bash", "-c", SHELL + short], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout.decode()) == len("Prilis zlutoucky kun\n")
    first, second, third = (tmp_path / "accents.tsv").read_text().splitlines()[:3]
    assert first == f"Prilis zlutoucky kun\t{HORSE}"
    assert second == "u e b\t\u00fc \u00e9 b"
    subprocess.run(
        ["bash", "-c", SHELL + short.replace(strip, lower).partition("\n")[0]],
        cwd=tmp_path,
        check=True,
    )
    for line in [third, *(tmp_path / "accents.tsv").read_text().splitlines()]:
        source, target = line.split("\t")
        assert len(source) == len(target)
    assert line.startswith("i ")


def test_python_names():
    model = tiny_tagger()
    assert isinstance(model, charlm.Tagger)
    (answer,) = model.predict(["ab ca"])
    assert isinstance(answer, charlm.TaggedSentence)
