"""What is held out of many files, what a directory holds, and what stands in two parts alike."""

import gzip
import os
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config import TextConfig
from charlm.errors import MissingInputError, UsageError
from charlm.text import repeats
from charlm.text.corpus import prepare
from charlm.text.repeats import LineHashes, repeats_of
from charlm.text.sequences import LINE
from charlm.text.tokenizers import EOS
from tests.test_commands import charlm

every_tokenizer = pytest.mark.parametrize("kind", ["char", "byte", "word"])
AUTO = {"hold_out": "auto"}


def poems(folder, count, length=20, seed=2):
    """Write documents that begin with BEGIN and end with END."""
    draw = random.Random(seed)
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(count):
        words = " ".join("".join(draw.choices("abcd", k=4)) for _ in range(length))
        paths.append(folder / f"{number:03}.txt")
        paths[-1].write_text(f"BEGIN\n{words}\n\n{words[::-1]}\nEND\n")
    return [str(path) for path in paths]


def config(kind="char", **settings):
    return TextConfig(kind, **({"min_count": 1} if kind == "word" else {}), **settings)


def texts(corpus, part):
    ids = part.read(0, len(part))
    return [corpus.tokenizer.decode(piece) for piece in np.split(ids, np.flatnonzero(ids == EOS) + 1)[:-1]]


# Whole files


@every_tokenizer
@pytest.mark.parametrize("count", [10, 25, 200])
def test_whole_files_are_held_out_where_there_are_many(tmp_path, kind, count):
    paths = poems(tmp_path / "p", count)
    for block in (3, 1 << 20) if count == 10 else (1 << 20,):
        corpus = prepare(paths, config(kind, test_fraction=0.1, **AUTO), block=block)
        parts = [texts(corpus, part) for part in (corpus.train, corpus.valid, corpus.test)]
        assert [len(part) for part in parts] == [count - 2 * round(count / 10), round(count / 10), round(count / 10)]
        assert all(text.startswith("BEGIN") and text.rstrip().endswith("END") for part in parts for text in part)
        assert corpus.hold_out == "files"
        assert corpus.valid.unknown == 0 or kind == "word"
    held = round(count / 10)
    for note, name in zip(corpus.notes, ("validation", "test"), strict=False):
        assert note.startswith(f"held out for {name}: {held} of {count} files, ")
        assert f"({held} in all)" in note or held < 4


def test_which_files_depends_on_the_split_seed_and_the_text_alone(tmp_path):
    paths = poems(tmp_path / "p", 60)
    held = set(texts(*(lambda corpus: (corpus, corpus.valid))(prepare(paths, config(**AUTO)))))
    again = prepare(paths[::-1], config(**AUTO))
    assert set(texts(again, again.valid)) == held
    other = prepare(paths, config(split_seed=1, **AUTO))
    assert set(texts(other, other.valid)) != held


def test_copies_of_a_file_stay_in_one_part(tmp_path):
    paths = poems(tmp_path / "p", 30)
    corpus = prepare(paths + paths, config(**AUTO))
    assert not set(texts(corpus, corpus.train)) & set(texts(corpus, corpus.valid))
    assert (corpus.valid.sequences, corpus.hold_out) == (6, "files")
    assert not any("stand in the training part" in note for note in corpus.notes)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_few_files_give_their_ends_as_ever(tmp_path, count):
    paths = poems(tmp_path / "p", count)
    old, new = prepare(paths, config()), prepare(paths, config(**AUTO))
    assert (old.train.digest, old.valid.digest, new.hold_out) == (new.train.digest, new.valid.digest, "parts")
    said = "the end of each of" in " ".join(new.notes)
    assert said == (count > 1)
    assert texts(new, new.train)[0].startswith("BEGIN")
    assert not any("END" in text for text in texts(new, new.train))


def test_one_large_file_among_small_ones_gives_its_end(tmp_path):
    paths = poems(tmp_path / "p", 12)
    large = tmp_path / "large.txt"
    large.write_text("a line of a long text\n\n" * 3000)
    assert prepare([*paths, str(large)], config(**AUTO)).hold_out == "parts"


def test_lines_of_many_files_are_drawn_by_number(tmp_path):
    paths = []
    for number in range(30):
        paths.append(str(tmp_path / str(number)))
        (tmp_path / str(number)).write_text("".join(f"line {number} {place}\n" for place in range(9)))
    old, new = prepare(paths, config()), prepare(paths, config(**AUTO))
    assert (new.hold_out, old.valid.digest, old.train.digest) == ("parts", new.valid.digest, new.train.digest)
    whole = prepare(paths, config(hold_out="files"))
    held = [line.split()[1] for line in texts(whole, whole.valid)]
    assert len(held) == 27
    assert len(set(held)) == 3


def test_whole_files_on_demand(tmp_path):
    paths = poems(tmp_path / "p", 3)
    corpus = prepare(paths, config(hold_out="files", test_fraction=0.1))
    assert [part.sequences for part in (corpus.train, corpus.valid, corpus.test)] == [1, 1, 1]
    for few, settings in ((paths[:2], {"test_fraction": 0.1}), (paths[:1], {}), (paths[:1] * 2, {})):
        with pytest.raises(UsageError, match="hold-out files needs different files for training and for each part"):
            prepare(few, config(hold_out="files", **settings))
    with pytest.raises(UsageError, match="hold-out files has nothing to hold out"):
        prepare(paths, config(hold_out="files", valid_fraction=0.0))


SMALL = ["--hidden", 4, "--embedding", 4, "--layers", 1, "--threads", 1, "--steps", 2]


def test_a_run_keeps_its_way_of_cutting(tmp_path):
    paths = poems(tmp_path / "p", 20)
    run = ["train", "-m", tmp_path / "m", "--resume", "--steps"]
    begun = charlm("train", tmp_path / "p", "-m", tmp_path / "m", *SMALL)
    assert begun.exit_code == 0
    assert "held out for validation: 2 of 20 files" in begun.stderr
    assert 'hold-out = "files"' in (tmp_path / "m/config.toml").read_text()
    assert charlm(*run, 3).exit_code == 0
    assert charlm(*run, 4, tmp_path / "p").exit_code == 0
    (tmp_path / "p" / "more.txt").write_text("one\n\nmore\n")
    assert charlm(*run, 5).exit_code == 0
    assert charlm("score", "-m", tmp_path / "m", "--corpus", "valid").exit_code == 0
    refused = charlm(*run, 6, tmp_path / "p")
    assert refused.exit_code == 2
    assert "not the one this run was trained on (21 files, then 20)" in refused.stderr
    os.remove(paths[4])
    assert charlm(*run, 6).exit_code == 66


def test_a_run_from_before_the_choice_goes_on(tmp_path, monkeypatch):
    poems(tmp_path / "p", 20)
    to_dict = TextConfig.to_dict
    monkeypatch.setattr(
        TextConfig, "to_dict", lambda self: {k: v for k, v in to_dict(self).items() if k != "hold_out"}
    )
    assert charlm("train", tmp_path / "p", "-m", tmp_path / "m", "--hold-out", "parts", *SMALL).exit_code == 0
    monkeypatch.undo()
    assert "hold-out" not in (tmp_path / "m/config.toml").read_text()
    again = ["train", "-m", tmp_path / "m", "--resume", "--steps", 3]
    assert charlm(*again, "--hold-out", "files").exit_code == 2
    assert charlm(*again, "--hold-out", "parts").exit_code == 0


# Directories


def test_a_directory_is_the_text_files_in_it(tmp_path):
    folder = tmp_path / "poems"
    paths = poems(folder, 12)
    (folder / "deep").mkdir()
    (folder / "deep" / "z.gz").write_bytes(gzip.compress(b"deep\n\ntext\n"))
    (folder / ".hidden").write_text("hidden")
    (folder / "cover.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere").symlink_to("nowhere")
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(b"")
    (folder / "model" / "config.toml").write_text("hidden = 3\n")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
    found = prepare([str(folder)], config(**AUTO))
    assert found.paths == (*paths, str(folder / "deep" / "z.gz"))
    assert found.train.digest == prepare(list(found.paths), config(**AUTO)).train.digest
    note = found.notes[0]
    assert note.startswith(f"{folder}: 13 text files; passed over: ")
    for problem in ("hidden: .hidden", "not text: cover.png", "of a charlm model: model", "linked directory: loop"):
        assert problem in note


def test_a_run_beside_its_corpus_is_not_read_as_text(tmp_path):
    folder = tmp_path / "poems"
    paths = poems(folder, 5)
    train = ["train", folder, "-m", folder, "--steps", 1, "--hidden", 4, "--valid-fraction", 0, "--force"]
    digests = []
    for seed in (1, 2, 3):
        if seed > 1:
            (folder / "config.toml").write_text("hidden = 4  # mine\n")  # kept as config.1.toml
        result = charlm(*train, "--seed", seed)
        assert result.exit_code == 0, result.stderr
        found = prepare([str(folder)], config())
        assert found.paths == (*paths,)
        digests.append(found.train.digest)
    assert len(set(digests)) == 1
    assert "of a charlm model: config.1.toml" in found.notes[0]
    assert charlm("train", folder, "-m", folder, "--resume", "--steps", 2).exit_code == 0


def test_a_directory_among_files_and_held_out(tmp_path):
    paths = poems(tmp_path / "p", 3)
    single = tmp_path / "single.txt"
    single.write_text("one\n\ntwo\n")
    corpus = prepare([str(single), str(tmp_path / "p")], config(), valid_file=str(tmp_path / "p"))
    assert corpus.paths == (str(single), *paths)
    assert (corpus.train.sequences, corpus.valid.sequences) == (4, 3)
    assert sum(note == f"{tmp_path / 'p'}: 3 text files" for note in corpus.notes) == 2  # as corpus, as validation
    assert texts(corpus, corpus.valid)[0].endswith("END\n")


@pytest.mark.parametrize("content", [None, b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_a_directory_without_text_is_refused(tmp_path, content):
    folder = tmp_path / "folder"
    folder.mkdir()
    if content:
        (folder / "picture").write_bytes(content)
    with pytest.raises(MissingInputError, match="folder: no text file in this directory"):
        prepare([str(folder)], config())
    assert charlm("train", folder, "-m", tmp_path / "m").exit_code == 66
    assert not (tmp_path / "m").exists()


# What stands in two parts


@every_tokenizer
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_lines_of_two_parts_are_counted(tmp_path, kind, block):
    path, held = tmp_path / "names", tmp_path / "held"
    path.write_text("".join(f"name {number}\n" for number in range(200)))
    held.write_text("name 7\nnew name\nname 8\nname 8\nnam\nname 7 \n")
    corpus = prepare([str(path)], config(kind), valid_file=str(held), test_file=str(path), block=block)
    assert corpus.notes == (
        "3 of 6 validation lines stand in the training part too (50 %): that share is not new text",
        "200 of 200 test lines stand in the training part too (100 %): that share is not new text",
    )


@every_tokenizer
@pytest.mark.parametrize("sequences", ["line", "document"])
def test_a_text_that_comes_again_is_said(tmp_path, kind, sequences):
    path = tmp_path / "text"
    blank = "\n" if sequences == "document" else ""
    path.write_text("".join(f"this is line {number} of thirty\n{blank}" for number in range(30)) * 40)
    corpus = prepare([str(path)], config(kind))
    assert corpus.sequences == sequences
    assert sum("stand in the training part too" in note for note in corpus.notes) == 1
    path.write_text("".join(f"this is line {number} of many\n{blank}" for number in range(1200)))
    assert not any("training part too" in note for note in prepare([str(path)], config(kind)).notes)


@given(st.lists(st.text("ab\n", max_size=12)), st.integers(1, 4))
def test_hashes_of_lines_do_not_depend_on_the_pieces(pieces, size):
    text = "".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "_PIECE", size)
        whole, parts = LineHashes(), LineHashes()
        whole.add(text)
        for piece in pieces:
            parts.add(piece)
        for lines in (whole, parts):
            lines.end()
        lines = [line for line in text.split("\n") if line]
        found = [np.concatenate([*lines.blocks(), np.zeros((0, 2), np.int64)]) for lines in (whole, parts)]
    assert np.array_equal(*found)
    assert found[0][:, 1].tolist() == list(map(len, lines))
    assert len({(line, row) for line, row in zip(lines, found[0][:, 0].tolist(), strict=True)}) == len(set(lines))


def test_of_a_long_part_some_lines_stand_for_all_in_flat_memory(monkeypatch):
    monkeypatch.setattr(repeats, "_MOST_LINES", 1 << 10)
    train, held = LineHashes(), LineHashes()
    train.add("".join(f"{number}\n" for number in range(0, 80_000, 4)))
    held.add("".join(f"{number}\n" for number in range(40_000)))
    tracemalloc.start()
    found = repeats_of(train, held, "validation")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.drawn
    assert 500 < found.compared < 1500
    assert abs(found.lines / found.compared - 0.25) < 0.08
    assert peak < 3_000_000
    assert "about 2" in str(found.note(LINE))


# What is said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a\n\nb\n\n",
            "(a text in each line: --sequences line; between blank lines: --sequences paragraph)",
        ),
        ("a\nb\n", "(lines of one text: --sequences document)"),
    ],
)
def test_the_reason_names_the_other_way(tmp_path, text, said):
    (tmp_path / "t").write_text(text * 20)
    assert prepare([str(tmp_path / "t")], config()).reason.endswith(said)


@every_tokenizer
def test_old_line_ends_are_told(tmp_path, kind):
    path = tmp_path / "mac"
    for text, told in (("one\rtwo\rthree\r" * 9, True), ("one\r\ntwo\r\n" * 9, False), ("one\rtwo\n" * 9, False)):
        path.write_bytes(text.encode())
        notes = prepare([str(path)], config(kind, valid_fraction=0.0)).notes
        assert any("tr '\\r' '\\n'" in note for note in notes) == told


def test_what_may_not_be_meant_as_text_is_told_once(tmp_path):
    pages = []
    for number in range(5):
        pages.append(str(tmp_path / f"{number}.html"))
        (tmp_path / f"{number}.html").write_text(f"\n<!DOCTYPE html>\n<p>{number}\n")
    notes = prepare(pages, config(valid_fraction=0.0)).notes
    assert len(notes) == 1
    assert notes[0].endswith("(5 in all): looks like HTML, whose marks are learnt as text")
    packed = tmp_path / "zip"
    packed.write_bytes(b"PK\x03\x04 and more\n")
    notes = prepare([str(packed)], config("byte", valid_fraction=0.0)).notes
    assert notes == (f"{packed}: a zip archive, whose bytes are taken as they are",)


def test_the_split_seed_draws_files_and_is_refused_only_where_nothing_is_drawn(tmp_path):
    """`--split-seed` acts on documents whose whole files are held out, and on no other document."""
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"text {number}\n\n" + "a line of it\n" * 9)
    given = ["--sequences", "document", "--hidden", "4", "--steps", "1", "-m", tmp_path / "m"]
    told = [
        charlm("train", *tmp_path.glob("*.txt"), *given, "--force", "--split-seed", seed).stderr
        for seed in (1, 2)
    ]
    held = [next(line for line in text.splitlines() if "held out" in line) for text in told]
    assert held[0] != held[1]
    refused = charlm("train", tmp_path / "1.txt", *given, "--force", "--split-seed", 1)
    assert refused.exit_code == 2
    assert "--split-seed" in refused.stderr
