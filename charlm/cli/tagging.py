"""`charlm predict` with a tagger: each sentence with its tags, in columns, as TSV or as JSON
lines."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import visible
from charlm.cli.given import Given
from charlm.cli.records import to_field, to_json
from charlm.cli.streams import tell_what_is_awaited
from charlm.cli.texts import STDIN, part_of_lines, tell_of_line_ends

if TYPE_CHECKING:
    from charlm.tag_inputs import Incoming
    from charlm.tagger import TaggedSentence, Tagger
    from charlm.text.columns import Sentence

_COLUMNS = ("sentence", "token", "tag", "probability")


def predict_tags(model: Tagger, asked: Given, texts: Sequence[str], path: str | None) -> None:
    """Print the tags of sentences: texts of the command line, or those of a file."""
    asked.refuse("a tagger gives each token one tag", "top", "threshold")
    if model.tags.of_characters:
        asked.refuse("this model tags the characters of lines", "columns")
    incoming = _incoming(model, asked, texts, path)
    if incoming.reason:
        click.echo(f"charlm: {incoming.reason}", err=True)
    form = "json" if asked.values["as_json"] else "tsv" if asked.values["as_tsv"] else "plain"
    _print(_answers(model, incoming), incoming, form, model)


def _incoming(model: Tagger, asked: Given, texts: Sequence[str], path: str | None) -> Incoming:
    from charlm import tag_inputs

    if path is None:
        asked.refuse("texts of the command line are plain sentences", "columns")
        return tag_inputs.of_texts(model.tags, texts)
    if path == STDIN:
        tell_what_is_awaited("the sentences")
    values = asked.values
    found = tag_inputs.of_file(
        model.tags,
        path,
        values["encoding"],
        values["columns"],
        part_of_lines(values["shard"]),
        sys.stdout.flush,
    )
    if found.lines:
        tell_of_line_ends(path, found.lines)
    return found


def _answers(model: Tagger, incoming: Incoming) -> Iterator[tuple[Sentence, TaggedSentence]]:
    """Yield each sentence with what the tagger says of it."""
    held = deque[Any]()  # sentences that are being tagged

    def tokens() -> Iterator[Any]:
        for sentence in incoming.sentences:
            held.append(sentence)
            yield sentence.lines[0] if model.tags.of_characters else sentence.tokens

    for answer in model.predict(tokens(), incoming.ready):
        yield held.popleft(), answer


def _print(
    answers: Iterator[tuple[Sentence, TaggedSentence]], incoming: Incoming, form: str, model: Tagger
) -> None:
    """Print what is said of each sentence, and at the end what is to be known of long ones."""
    characters, columns = model.tags.of_characters, incoming.layout
    if form == "tsv":
        sys.stdout.write("\t".join(("text", "target") if characters else _COLUMNS) + "\n")
    count = long = 0
    for sentence, answer in answers:
        if columns and form != "plain" and not sentence.tokens:
            continue  # lines that hold no sentence
        count, long = count + bool(sentence.tokens or not columns), long + (answer.pieces > 1)
        if characters:
            line = _CHARACTERS[form](answer)
        elif form == "plain":
            line = _in_columns(sentence, answer, columns.separator) if columns else _plain(answer)
        else:
            line = _json(answer) if form == "json" else _tsv(count, answer)
        sys.stdout.write(line)
    if long:
        sys.stdout.flush()  # where the product cannot be written, that alone is told
        were = "was longer" if long == 1 else "were longer"
        steps = f"{model.tags.max_length:,} steps and read in pieces"
        told = f"{long:,} of {count:,} sentences {were} than {steps}"
        click.echo(f"charlm: {told}", err=True)


def _in_columns(sentence: Sentence, answer: TaggedSentence, separator: str) -> str:
    """Return the lines of a sentence, those of tokens with one more column."""
    tags = dict(zip(sentence.places, answer.tags, strict=True))
    return "".join(
        f"{line}{separator}{tags[place]}\n" if place in tags else f"{line}\n"
        for place, line in enumerate(sentence.lines)
    )


def _plain(answer: TaggedSentence) -> str:
    rows = zip(answer.tokens, answer.tags, strict=True)
    return "".join(f"{token}\t{tag}\n" for token, tag in rows) + "\n"


def _tsv(number: int, answer: TaggedSentence) -> str:
    rows = zip(answer.tokens, answer.tags, answer.probabilities, strict=True)
    return "".join("\t".join(map(to_field, (number, *row))) + "\n" for row in rows)


def _json(answer: TaggedSentence) -> str:
    marked = [
        {
            "type": span.kind, "start": span.start, "end": span.stop,
            "text": " ".join(answer.tokens[span.start : span.stop]),
        }
        for span in answer.spans
    ]  # fmt: skip
    said = {
        "tokens": answer.tokens,
        "tags": answer.tags,
        "probabilities": answer.probabilities,
        "spans": marked,
    }
    return to_json(said | {"unknown": answer.unknown, "pieces": answer.pieces}) + "\n"


def _restored(answer: TaggedSentence) -> str:
    """Return a restored text as one line; only an argument can have ends of lines."""
    text = answer.text
    return (visible(text, keep="\t") if "\n" in text else text) + "\n"


_CHARACTERS: dict[str, Callable[[TaggedSentence], str]] = {
    "plain": _restored,
    "tsv": lambda answer: f"{to_field(''.join(answer.tokens))}\t{to_field(answer.text)}\n",
    "json": lambda answer: to_json({
        "text": "".join(answer.tokens), "target": answer.text, "unknown": answer.unknown,
        "pieces": answer.pieces,
    }) + "\n",
}  # fmt: skip
