"""What all commands share: one-line errors with exit codes, grouped help, the model option."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import click

import charlm
from charlm.cli.signals import STOPPING, Interrupted, ignore_signals
from charlm.cli.streams import HadEnough, one_line, safe_streams, visible
from charlm.config import path_given
from charlm.errors import CharlmError, StorageError, UsageError

__all__ = ["PATH", "CharlmGroup", "GroupedCommand", "GroupedOption", "as_utf8", "model_option", "option", "visible"]

INTERRUPTED = [128 + number for number in STOPPING]
PROCESS_ENDS = "charlm.process_ends"  # the key in a context's meta: does the process end with the command?
DEFAULT_MODEL = "charlm-model"


class CharlmGroup(click.Group):
    """The group of all commands; turns every foreseen failure into one line on stderr and an exit code."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        settings = {"auto_envvar_prefix": "CHARLM", "help_option_names": ["-h", "--help"], "color": True}
        super().__init__(*args, context_settings=settings, **attributes)
        click.version_option(charlm.__version__, prog_name="charlm")(self)
        click.option("--traceback", is_flag=True, help="Show where an error comes from, for developers.")(self)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        self._own = own = not args and not extra  # the command is all that this process does
        with safe_streams():
            try:
                code = self._run(*args, **extra)
            except Exception:  # a bug: what it says may hold anything, and standard error may be gone
                if not own:
                    raise
                click.echo(traceback.format_exc(), err=True, nl=False)
                code = 1
            if own and code in INTERRUPTED:
                ignore_signals()
        sys.exit(code)

    def _run(self, *args: Any, **extra: Any) -> int:
        """Run the command line and return its exit code, errors told in one line."""
        self._wants_traceback = False
        extra["standalone_mode"] = False
        try:
            result = super().main(*args, **extra)
            sys.stdout.flush()
            return result if isinstance(result, int) else 0
        except HadEnough:
            return 0
        except Interrupted as interrupted:
            return interrupted.exit_code
        except CharlmError as error:
            if self._wants_traceback:
                click.echo(traceback.format_exc(), err=True, nl=False)
            return _failure(str(error), error.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return 2
        except click.ClickException as error:
            return _failure(error.format_message().replace("\n", " "), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            return 128 + signal.SIGINT
        except OSError as error:
            return _failure(f"{error.filename or 'input or output'}: {error.strerror or error}", 74)
        except MemoryError:
            return _failure("out of memory: choose a smaller --hidden, --batch-size or --seq-len", 1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click would take a pipe that breaks anywhere for the reader of the product."""
        self._wants_traceback = ctx.params.pop("traceback", False)
        ctx.meta[PROCESS_ENDS] = self._own
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise StorageError(f"{error.filename or 'input or output'}: {error.strerror or error}") from error


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


def as_utf8(_: click.Context, __: click.Parameter, value: Any) -> Any:
    """Return texts of the command line as the UTF-8 that they are, in a locale that knows no UTF-8 (a callback)."""
    if isinstance(value, tuple):
        return tuple(as_utf8(_, __, text) for text in value)
    if not isinstance(value, str) or value.startswith("@"):  # a file's name stays as the system wants it
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


class PathGiven(click.Path):
    """The type of every option and argument that names a file or a directory: an empty one is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not isinstance(value, str):
            self.fail(f"{value!r} is no path: give text", param, ctx)
        try:
            return path_given("it", value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


PATH = PathGiven()


def model_option(help_text: str = "Model directory or .safetensors file.") -> Callable[[Any], Any]:
    """Return the `-m` option that all commands have."""
    return option("Model")(
        "-m", "--model", type=PATH, metavar="PATH", default=DEFAULT_MODEL, show_default=True, envvar="CHARLM_MODEL",
        show_envvar=True, help=help_text,
    )  # fmt: skip


def _failure(message: str, exit_code: int) -> int:
    click.echo(f"charlm: {one_line(message)}", err=True)
    return exit_code


def shown_line(text: str) -> str:
    """Return a text on one line, with nothing in it that drives a terminal."""
    return visible(text, keep="")


def write_line(line: str) -> None:
    """Write a line to standard output without flushing it, as a million of them need; a pause of
    the input and the end flush."""
    sys.stdout.write(line + "\n")
