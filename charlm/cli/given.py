"""The options that were given on a command line: obeyed, or refused by name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource

from charlm.errors import UsageError

# A backslash that stands for a control character elsewhere; not \\textbf and the like.
_ESCAPE = re.compile(r"\\[ntr0](?![a-z]{2})")


class Given:
    """What a command was given: `values` of all its parameters by name, and which come from the command line itself."""

    def __init__(self, ctx: click.Context) -> None:
        self.values: dict[str, Any] = dict(ctx.params)
        self._sources = {name: ctx.get_parameter_source(name) for name in self.values}
        self._options = {
            option.name: option
            for option in ctx.command.params
            if option.name and self._sources.get(option.name) is ParameterSource.COMMANDLINE
        }

    def __contains__(self, name: str) -> bool:
        return name in self._options

    def left_out(self, name: str) -> bool:
        """Return whether a parameter has its default, from neither command line nor environment."""
        return self._sources[name] is ParameterSource.DEFAULT

    def refuse(self, why: str, *names: str) -> None:
        """Raise UsageError if any of these was given: beside others it does nothing."""
        for name in names:
            if name in self:
                raise UsageError(f"{why}: leave {self._shown(name)} out")

    def refuse_empty(self, name: str) -> None:
        """Raise UsageError if this was given without a character in it."""
        if self.values[name] == "" and name in self:
            raise UsageError(f"{self._shown(name)} must not be empty: leave it out, or say what it is")

    @contextlib.contextmanager
    def hints_of_escapes(self, *names: str) -> Iterator[None]:
        """Add to a usage error that one of these texts has a backslash where a newline or the like may be meant."""
        try:
            yield
        except UsageError as error:
            hints = "".join(f"; {hint}" for hint in self._escapes(names)[:1])
            raise UsageError(f"{error}{hints}") from None

    def warn_of_escapes(self, *names: str) -> None:
        """Say on stderr where a text has a backslash where a newline or the like may be meant."""
        for hint in self._escapes(names):
            click.echo(f"charlm: {hint}", err=True)

    def _escapes(self, names: tuple[str, ...]) -> list[str]:
        found = [(name, _ESCAPE.search(self.values[name] or "")) for name in names if name in self]
        return [
            f"{match[0]} in {self._shown(name)} is a backslash and {match[0][1]!r}: the shell's word for the character "
            f"is $'{match[0]}'"
            for name, match in found
            if match
        ]

    def _shown(self, name: str) -> str:
        """Return the name of an option as it is typed, that of a flag's other side where that was given."""
        option = self._options[name]
        names = option.secondary_opts if option.secondary_opts and not self.values[name] else option.opts
        return min(names, key=len) if name == "count" else names[-1]
