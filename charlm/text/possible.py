"""Whether a vocabulary can ever write a string, or a text that a regular expression matches; and if not, why.

It errs on one side alone: what is said to be impossible is so. Probabilities play no part.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from charlm.text.sequences import Kind
from charlm.text.tokenizers import EOS, SPECIALS, UNK, Tokenizer

_ANY = -1  # in place of a token's id: whatever may stand there


class Possible:
    """What a tokenizer's vocabulary can write: in a sequence of a kind, and with `<unk>` in it or
    not.
    """

    def __init__(self, tokenizer: Tokenizer, kind: Kind, unknown: bool = False) -> None:
        self._tokenizer, self._kind = tokenizer, kind
        self._bytes = tokenizer.kind == "byte"
        first = UNK if unknown else len(SPECIALS)
        self._names = {} if self._bytes else {tokenizer.token(k): k for k in range(first, tokenizer.size)}
        self._gaps: dict[tuple[int, int], frozenset[str]] = {}

    def why_not(self, text: str, before: str = "", begins: bool = False) -> str:
        """Return why no text can have `text` in it, or begin with it if `begins`; "" where one may.

        `before` stands before what is written, and `text` may begin in it.
        """
        if reason := self._kind.why_not(text, before, begins):
            return reason
        if self._fits(text, begins) or text in before:
            return ""
        if any(before.endswith(text[:k]) and self._fits(text[k:], True) for k in range(1, len(text))):
            return ""
        return self._reason(text)

    def why_no_match(self, pattern: str, before: str = "", longest: int | None = None) -> str:
        """Return why no text can match a regular expression from end to end; "" where one may, or who knows.

        `longest` is how many characters a text has at most.
        """
        try:
            parser, compiler = map(importlib.import_module, ("re._parser", "re._compiler"))
        except ImportError:  # they are not documented: without them texts are drawn until one matches
            return ""
        parsed = parser.parse(pattern, re.DOTALL)
        if longest is not None and parsed.getwidth()[0] > longest:
            return f"it asks for {parsed.getwidth()[0]:,} characters, and a text has {longest:,} at most"
        return _Pattern(self, before, parser, compiler).why_not(parsed, parsed.state.flags)

    def longest(self, length: int, before: str) -> int | None:
        """Return how many characters a text of `length` tokens after `before` can have; None where no one knows."""
        if not length or "<unk>" in self._names or self._tokenizer.kind == "word":
            return None
        return len(before) + length

    def characters(self, before: str) -> set[str] | None:
        """Return all characters that can stand in a text; None where that is any."""
        if self._bytes:
            return None
        return self._alphabet | set(before)

    @cached_property
    def _alphabet(self) -> set[str]:
        spaces = {" "} if self._tokenizer.kind == "word" else set()
        return spaces.union(*self._names)

    def _reason(self, text: str) -> str:
        lowered = text.lower()
        if lowered != text and self._tokenizer.to_dict()["lowercase"] and self._fits(lowered, False):
            return f"the model writes lower case only, as {lowered!r}"
        if self._tokenizer.kind == "char":
            return f"the model does not know {_listed(set(text) - self._alphabet)}"
        parts = {part for part in text.split() if not self._fits(part, False)}
        if parts:
            return f"no text of the model has {_listed(parts)}"
        ids = self._tokenizer.encode(text)
        return "the model spaces its words otherwise" + (
            "" if UNK in ids else f", as {self._tokenizer.decode(ids.tolist())!r}"
        )

    def _fits(self, text: str, begins: bool) -> bool:
        if self._bytes or not text:
            return True
        if self._tokenizer.kind == "char":
            return self._alphabet.issuperset(text)
        return (not begins and any(text in name for name in self._names)) or self._follows(text, begins)

    def _follows(self, text: str, begins: bool) -> bool:
        """Tell whether words one after the other, spaced as the decoder does, can have `text` in what they give.

        Goes through the places of the text; at each it keeps one token of every kind that may end there.
        """
        ends: list[dict[str, int]] = [{"": _ANY}, *({} for _ in text)]
        begun = () if begins else tuple(text[:place] for place in range(1, len(text)))
        enders = [name for name in self._names if name.endswith(begun)]
        for place, piece in enumerate(begun, start=1):
            self._note(ends[place], (name for name in enders if name.endswith(piece)))
        left = tuple(text[place:] for place in range(len(text)))
        names = [name for name in self._names if name in text or name.startswith(left)]
        for place in range(len(text)):
            for token in list(ends[place].values()):
                for gap in ("", " ") if text[place] == " " else ("",):
                    if self._goes_on(text, place + len(gap), token, gap, names, ends):
                        return True
        return bool(ends[-1])

    def _goes_on(
        self, text: str, place: int, token: int, gap: str, names: list[str], ends: list[dict[str, int]]
    ) -> bool:
        """Note where tokens end that stand at `place` after `token`; tell whether one goes on to the text's end."""
        if place == len(text):
            return True
        rest = text[place:]
        for name in names:
            longer = name.startswith(rest)
            if (longer or rest.startswith(name)) and gap in self._between(token, self._names[name]):
                if longer:
                    return True
                self._note(ends[place + len(name)], [name])
        return False

    def _note(self, ends: dict[str, int], names: Iterable[str]) -> None:
        for name in names:
            ends.setdefault(name if len(name) == 1 and not name.isalnum() else "word", self._names[name])

    def _between(self, left: int, right: int) -> frozenset[str]:
        """Return what the decoder may write between two tokens: nothing, a space, or either, as quotes stand."""
        if left == _ANY:
            return frozenset(("", " "))
        if (left, right) not in self._gaps:
            decode, name = self._tokenizer.decode, self._tokenizer.token(right)
            texts = ((decode([*before, left]), decode([*before, left, right])) for before in ([EOS], [left], [right]))
            self._gaps[left, right] = frozenset(whole[len(begun) :].removesuffix(name) for begun, whole in texts)
        return self._gaps[left, right]


class _Pattern:
    """Walks a parsed regular expression; each method returns why its part cannot match, "" where it may."""

    def __init__(self, possible: Possible, before: str, parser: Any, compiler: Any) -> None:
        self._possible, self._before = possible, before
        self._parser, self._compiler = parser, compiler
        self._characters = possible.characters(before)

    def why_not(self, parsed: Any, flags: int) -> str:
        """Return why a sequence of elements cannot match, all of which must."""
        literal = ""
        for operation, value in parsed:
            name = str(operation)
            if name == "LITERAL" and not flags & re.IGNORECASE:
                literal += chr(value)
                continue
            reason = self._literal(literal) or self._element(name, value, parsed, flags)
            if reason:
                return reason
            literal = ""
        return self._literal(literal)

    def _literal(self, text: str) -> str:
        return self._possible.why_not(text, self._before) if text else ""

    def _element(self, name: str, value: Any, parsed: Any, flags: int) -> str:
        if name == "SUBPATTERN":
            _, added, removed, inner = value
            return self.why_not(inner, (flags | added) & ~removed)
        if name in ("ATOMIC_GROUP", "ASSERT"):
            return self.why_not(value if name == "ATOMIC_GROUP" else value[1], flags)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, _, inner = value
            return self.why_not(inner, flags) if least else ""
        if name == "BRANCH":
            reasons = [self.why_not(branch, flags) for branch in value[1]]
            return reasons[0] if all(reasons) else ""
        return self._character(name, value, parsed, flags) if name in ("LITERAL", "NOT_LITERAL", "IN") else ""

    def _character(self, name: str, value: Any, parsed: Any, flags: int) -> str:
        """Try every character there is on an element that matches one."""
        if self._characters is None:
            return ""
        operation = getattr(self._parser, name)
        alone = self._parser.SubPattern(parsed.state, [(operation, value)])
        matches = self._compiler.compile(alone, flags).match
        if any(map(matches, self._characters)):
            return ""
        choices = [(operation, value)] if name == "LITERAL" else value if name == "IN" else []
        if choices and all(str(one) == "LITERAL" for one, _ in choices):
            return f"the model does not know {_listed(chr(code) for _, code in choices)}"
        return "no character of the model is one of those that it asks for"


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(parts)))
