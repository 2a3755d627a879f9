r"""How tokens are named in an ARPA file, where white space parts the words: one name a token, and back.

A token is a string of bytes, the one of a byte model or its text in UTF-8. Its name is that text,
but for what an ARPA file cannot hold, which is written as bytes in hex, \xNN with small letters:

- a space, a newline, any other white space, control characters and a byte order mark;
- the backslash itself, as \x5c;
- bytes that are no UTF-8, among them all from 0x80 on of a byte model, and halves of characters;
- the first character of what reads <s>, </s> or <unk> in small or in capital letters, as \x3c.

The empty token would be \e. So a space is \x20, a newline \x0a, the word C:\new is C:\x5cnew, and
the byte 0xE9 \xe9, while the character é stays é (its name in UTF-8). A name never holds what
`str.split` parts, in no version of Unicode, and is never that of a special:

- <s> is the beginning of a text, known only as what others follow;
- </s> is the end of a text (EOS), known only as what follows others;
- <unk> is the unknown token.
"""

from __future__ import annotations

import re

from charlm.text.tokenizers import EOS, SPECIALS, UNK, Tokenizer

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"

_EMPTY = "\\e"
# Fixed, so that a name is the same whatever Unicode a Python knows.
_UNSPELLABLE = re.compile(
    "[\\\\\0-\x20\x7f-\xa0\u1680\u180e\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\ud800-\udfff]"
)
_SPELLED = re.compile(rb"(?:[^\\]|\\x[0-9a-fA-F]{2})*")
_HEX = re.compile(rb"\\x([0-9a-fA-F]{2})")


def escaped(token: bytes) -> str:
    """Return the name of a token, whose inverse is `unescaped`."""
    text = token.decode("utf-8", "surrogateescape")
    if text.lower() in (BEGIN, END, UNKNOWN):
        return f"\\x{ord(text[0]):02x}{text[1:]}"
    return _UNSPELLABLE.sub(_in_hex, text) or _EMPTY


def unescaped(name: bytes) -> bytes | None:
    """Return the token of a name, given in UTF-8; None where a backslash in it begins no escape."""
    if name == _EMPTY.encode():
        return b""
    if not _SPELLED.fullmatch(name):
        return None
    return _HEX.sub(lambda found: bytes.fromhex(found[1].decode()), name)


def token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """Return the bytes [V] of every token, b"" for the specials."""
    own = range(len(SPECIALS), tokenizer.size)
    if tokenizer.kind == "byte":
        every = [bytes([token - len(SPECIALS)]) for token in own]
    else:
        every = [tokenizer.token(token).encode("utf-8", "surrogatepass") for token in own]
    return [b""] * len(SPECIALS) + every


def arpa_names(tokenizer: Tokenizer) -> list[str]:
    """Return the name [V] of every token; that of EOS is </s>."""
    own = token_bytes(tokenizer)[len(SPECIALS) :]
    return [END, UNKNOWN, *map(escaped, own)]


class Vocabulary:
    """The ids of names: those that `escaped` gives, and tokens named plainly, as others write them.

    `<s>` has the id `begin`, V, which no token has.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.begin = tokenizer.size
        tokens = token_bytes(tokenizer)
        self._ids = {token: k for k, token in enumerate(tokens) if k >= len(SPECIALS)}
        self._specials = {BEGIN.encode(): self.begin, END.encode(): EOS, UNKNOWN.encode(): UNK}

    def find(self, name: bytes) -> int | None:
        """Return the id of a name, None where no token has it."""
        special = self._specials.get(name.lower())
        if special is not None:
            return special
        token = unescaped(name)
        found = None if token is None else self._ids.get(token)
        return self._ids.get(name) if found is None else found


def _in_hex(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape"))
