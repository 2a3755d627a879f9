"""The page's script without what only its authors need: comments, indents, and spaces that part
nothing."""

from __future__ import annotations

import re

# What keeps its spaces: strings, templates, and regular expressions, which stand where a value may
# begin.
_KEPT = (
    r"(\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`"
    r"|(?:(?<=[(,=:\[!&|?{};])|(?<=return))[ ]*/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/[a-z]*)"
)
# White space goes where the line cannot end there anyway (it may after ) ] and }), and so do
# semicolons before }.
_SPACED = re.compile(
    rf"{_KEPT}|(?<=[\w\]'\"`]);\s*(?=\}})|\s*([,;:?])\s*|[ ]*([({{\[=&|])\s*|\s*([)\]}}])[ ]*|[ ]*([*<>!%^])[ ]*"
    r"|(?<=[^+\-\s])[ ]*([+\-])[ ]*(?=[^+\-\s])|[ ]*//[^\n]*"
)


def compact(source: str) -> str:
    """Return a script that does the same in fewer letters; it has no comments but those from // on.

    >>> compact("// why\\n  const sum = a + +b, word = 'x = y';\\n  call(sum, [ 1, 2 ]);\\n")
    "const sum=a + +b,word='x = y';call(sum,[1,2]);"
    """
    lines = (line.strip() for line in source.splitlines())
    code = "\n".join(line for line in lines if line and not line.startswith("//"))
    return _SPACED.sub(lambda found: next(filter(None, found.groups()), ""), code)
