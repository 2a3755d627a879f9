"""What all commands share: one-line errors with exit codes, grouped help, the model option."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import click

import charlm
from charlm.errors import CharlmError

INTERRUPTED = 130
DEFAULT_MODEL = "charlm-model"


class CharlmGroup(click.Group):
    """The group of all commands; turns every foreseen failure into one line on stderr and an exit code."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        settings = {"auto_envvar_prefix": "CHARLM", "help_option_names": ["-h", "--help"]}
        super().__init__(*args, context_settings=settings, **attributes)
        click.version_option(charlm.__version__, prog_name="charlm")(self)
        click.option("--traceback", is_flag=True, help="Show where an error comes from, for developers.")(self)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        self._wants_traceback = False
        _write_utf8()
        extra["standalone_mode"] = False
        try:
            result = super().main(*args, **extra)
        except CharlmError as error:
            if self._wants_traceback:
                traceback.print_exc()
            _fail(str(error), error.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(2)
        except click.ClickException as error:
            _fail(error.format_message().replace("\n", " "), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        except OSError as error:
            _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 74)
        except MemoryError:
            _fail("out of memory: choose a smaller --hidden, --batch-size or --seq-len", 1)
        sys.exit(result if isinstance(result, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that closed the pipe has had enough, which is no failure."""
        self._wants_traceback = ctx.params.pop("traceback", False)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_stdout()
            return 0
        return result


class GroupedCommand(click.Command):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "Other"), []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


class GroupedOption(click.Option):
    """An option that stands under a heading of its command's help."""

    def __init__(self, *args: Any, group: str = "Other", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group


def option(group: str) -> Callable[..., Callable[[Any], Any]]:
    """Return `click.option` for options that stand under the heading `group`."""

    def make(*names: str, **attributes: Any) -> Callable[[Any], Any]:
        return click.option(*names, cls=GroupedOption, group=group, **attributes)

    return make


def model_option(help_text: str = "Model directory or .safetensors file.") -> Callable[[Any], Any]:
    """Return the `-m` option that all commands have."""
    return option("Model")(
        "-m", "--model", metavar="PATH", default=DEFAULT_MODEL, show_default=True, envvar="CHARLM_MODEL",
        show_envvar=True, help=help_text,
    )  # fmt: skip


def _fail(message: str, exit_code: int) -> NoReturn:
    click.echo(f"charlm: {message}", err=True)
    sys.exit(exit_code)


def _write_utf8() -> None:
    """Write UTF-8 whatever the locale; bytes that came in as surrogates go out as they were."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="surrogateescape")


def _drop_stdout() -> None:
    """Let the interpreter's own last flush go nowhere: who closed the pipe wants no more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def visible(text: str, keep: str = "\n\t") -> str:
    """Return text with control characters, but for those to keep, as pictures: none of them drives a terminal."""
    return "".join(
        _picture(character) if _is_control(character) and character not in keep else character for character in text
    )


def _is_control(character: str) -> bool:
    return ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0


def _picture(character: str) -> str:
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
