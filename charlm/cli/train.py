"""`charlm train`."""

from __future__ import annotations

import time
from typing import Any

import click
from click.core import ParameterSource

from charlm import config
from charlm.cells import CELLS
from charlm.cli.base import PATH, PROCESS_ENDS, GroupedCommand, as_utf8, model_option, option
from charlm.cli.display import Display
from charlm.cli.given import Given
from charlm.cli.signals import Signals
from charlm.cli.streams import tell_what_is_awaited
from charlm.cli.useless import refuse_useless, refuse_useless_here
from charlm.errors import UsageError
from charlm.run_files import HELD_OUT
from charlm.run_settings import LABELLED
from charlm.tasks import TASKS

_text = option("Text")
_class = option("Classes")
_tag = option("Tags")
_pair = option("Pairs")
_model = option("Network")
_train = option("Training")
_stop = option("How long")
_run = option("Run")


def _default(settings: type[Any], name: str) -> str:
    return f"[default: {settings.__dataclass_fields__[name].default}]"


def _read_config(ctx: click.Context, _: click.Parameter, path: str | None) -> str | None:
    """Put a TOML file's settings under the flags and the environment, as click's defaults."""
    if path is None:
        return None
    from charlm.settings_file import read_toml

    try:
        ctx.default_map = _typed(ctx.command.params, read_toml(path))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return path


def _typed(parameters: list[click.Parameter], values: dict[str, Any]) -> dict[str, Any]:
    """Return a file's settings by the names of parameters, each of exactly the type that its option has."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in ("config", "resume", "force", "quiet"):  # for a command line alone
        del known[name]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UsageError(f"unknown settings: {', '.join(unknown)}; `charlm train --help` lists the known")
    for name, value in values.items():
        config.check_type(name.replace("_", "-"), value, _type_of(known[name]))
    return {
        name: [value] if _takes_several(known[name]) and isinstance(value, str) else value
        for name, value in values.items()
    }


def _type_of(parameter: click.Parameter) -> Any:
    """Return the type of an option's value in TOML; many texts may be one."""
    if _takes_several(parameter):
        return list | str
    kinds = {click.types.IntParamType: int, click.types.FloatParamType: float, click.types.BoolParamType: bool}
    return next((kind for click_type, kind in kinds.items() if isinstance(parameter.type, click_type)), str)


def _takes_several(parameter: click.Parameter) -> bool:
    return parameter.nargs == -1 or (isinstance(parameter, click.Option) and parameter.multiple)


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm train corpus.txt
  charlm train names.txt -m names --minutes 2
  charlm train news.txt.gz --tokenizer word --minutes 30
  charlm train names/*.txt --labels file
  charlm train names/*.txt --task classify --labels file
  charlm train words.conll --task tag
  charlm train pairs.tsv --task convert""")  # fmt: skip
@click.argument("corpus", nargs=-1, type=PATH)
@model_option("Directory to write the model to.")
@_run("--config", type=PATH, metavar="FILE.toml", is_eager=True, callback=_read_config, expose_value=False,
      help="Read settings from TOML: the long names of these options, and `corpus`. Flags go before it.")  # fmt: skip
@_run("--resume", is_flag=True, help="Go on with the run in the model directory, with its own settings.")
@_run("--force", is_flag=True, help="Replace the model that stands there, at this run's first save.")
@_run("--init-from", type=PATH, metavar="MODEL",
      help="Start from a model (fine-tuning): its weights, shape and vocabulary, to which new tokens are added.")
@_run("--keep-vocabulary", is_flag=True, default=None, help="With --init-from: add none, leave new tokens unknown.")
@_run("--task", type=click.Choice([name for name in TASKS if name != LABELLED]),
      help="What to learn: what comes next (lm; with --labels given a label), classes, tags, or to convert a text into "
           "another. [default: lm]")  # fmt: skip
@_run("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@_text("--tokenizer", type=click.Choice(config.TOKENIZERS), help="Unit of text. [default: char]")
@_text("--lowercase/--no-lowercase", default=None,
       help="Lower-case the text; of tagged words not the characters. [default: no, tagged words yes]")  # fmt: skip
@_text("--punctuation/--no-punctuation", default=None, help="Words: keep punctuation marks as tokens, or drop them.")
@_text("--word-pattern", metavar="RE", callback=as_utf8,
       help="Words: a regular expression for a token, e.g. '\\S+' for split text.")
@_text("--vocab-size", type=int, metavar="N", help="Keep the N-2 commonest tokens. [default: words 20000, else all]")
@_text("--min-count", type=int, metavar="N", help="Keep tokens seen N times. [default: words 2, else 1]")
@_text(
    "--sequences",
    type=click.Choice(config.SEQUENCES),
    help="Is each line a text, the lines between blank ones, or the file? [default: auto: line or document]",
)
@_text("--context", type=click.Choice(config.CONTEXTS),
       help="Each text begins from zero, or as after a newline, or where the last ended (stream). "
            "[default: newline for documents, else sequence]")  # fmt: skip
@_text("--valid-fraction", type=float, metavar="F", help="Share kept for validation. [default: 0.1]")
@_text("--test-fraction", type=float, metavar="F", help="Share kept for the test at the end. [default: 0]")
@_text("--valid-file", type=PATH, metavar="FILE", multiple=True, help="Validate on this file instead.")
@_text("--test-file", type=PATH, metavar="FILE", multiple=True, help="Test on this file instead.")
@_text("--split-seed", type=int, metavar="N", help="Which lines go to which part. [default: 0]")
@_text("--hold-out", type=click.Choice(config.HOLD_OUTS),
       help="Hold out whole files, or a part of each. [default: files of many documents, else parts]")  # fmt: skip
@_text("--encoding", metavar="NAME", help="Encoding of the corpus. [default: utf-8]")
@_class("--labels", type=click.Choice(config.LABELS),
        help="Where labels stand: in the file's name, before a tab, after __label__, or as the first word. A language "
             "model then learns texts by their labels. [default: classify: by the lines]")  # fmt: skip
@_class("--label", metavar="NAME=FILE", multiple=True,
        help="With --labels file: the texts of this file have this label. Several files may have one.")  # fmt: skip
@_class("--pool", type=click.Choice(config.POOLINGS),
        help="What a text is judged by: its last step, or all. [default: by the corpus]")  # fmt: skip
@_class("--ngrams", type=int, metavar="N",
        help="Count n-grams of up to N tokens too, beside the network, for tags of up to N characters of each word; "
             "0: none. [default: 4, words of classes 2]")  # fmt: skip
@_class("--token-dropout", type=float, metavar="P",
        help="Share of the tokens read as unknown in training. [default: words 0.1, else 0]")
@_class("--embedding-scale", type=float, metavar="X",
        help="Standard deviation of the embedding's first values. [default: words 0.2, else 1]")  # fmt: skip
@_class("--max-length", type=int, metavar="N",
        help="Read N tokens of a text at most; sentences with tags are read in pieces of so many, longer pairs are "
             "left out. [default: 1000]")  # fmt: skip
@_class("--balance/--no-balance", default=None, help="Let rare labels count for as much as common ones.")
@_tag("--tags", type=click.Choice(config.UNITS),
      help="What has a tag: the words of columns, or each character in lines of source TAB target. "
           "[default: by the lines]")  # fmt: skip
@_tag(
    "--token-column",
    type=int,
    metavar="N",
    help="Words stand in column N. [default: 1; of CoNLL-U 2]",
)
@_tag(
    "--column",
    type=int,
    metavar="N",
    help="Their tags in column N. [default: the last; of CoNLL-U 4]",
)
@_tag("--crf/--no-crf", default=None,
      help="Learn which tag follows which (a linear-chain CRF). [default: where tags mark spans]")  # fmt: skip
@_tag("--char-hidden", type=int, metavar="N",
      help="Units that read the characters of each word; 0: words are read whole. [default: 32]")  # fmt: skip
@_pair("--source-tokenizer", type=click.Choice(config.TOKENIZERS),
       help="Unit of the sources, before the tab. [default: --tokenizer; word with a pattern]")  # fmt: skip
@_pair("--target-tokenizer", type=click.Choice(config.TOKENIZERS),
       help="Unit of the targets, after it. [default: --tokenizer; word with a pattern]")  # fmt: skip
@_pair("--source-pattern", metavar="RE", callback=as_utf8,
       help=r"Regular expression of a source's words, '\S+' for what white space parts.")  # fmt: skip
@_pair("--target-pattern", metavar="RE", callback=as_utf8, help="The same for targets.")
@_pair("--attention/--no-attention", default=None,
       help="Let each step of a target look at all of its source. [default: yes]")  # fmt: skip
@_model("--counts", type=int, metavar="N",
        help="Blend the network with counts of n-grams of up to N tokens; 0: none. [default: 8, words 5]")  # fmt: skip
@_model("--counts-from", type=PATH, metavar="FILE.arpa", help="Take the counts of an ARPA file instead.")
@_model("--cell", type=click.Choice(list(CELLS)), help="Recurrent cell. [default: by the corpus]")
@_model("--nonlinearity", type=click.Choice(config.NONLINEARITIES), help="Of a plain rnn. [default: tanh]")
@_model("--layers", type=int, metavar="N", help="Recurrent layers; 0: counts alone. [default: by the corpus]")
@_model("--hidden", type=int, metavar="N", help="Units of a layer. [default: by the corpus]")
@_model("--bidirectional/--no-bidirectional", default=None,
        help="Classes, tags, sources: read texts from both ends. [default: yes]")  # fmt: skip
@_model("--head-layers", type=int, metavar="N", help="Layers without recurrence on top. [default: 0]")
@_model("--head-hidden", type=int, metavar="N", help="Their units. [default: as many as they read]")
@_model("--embedding", type=int, metavar="N", help="Width of the embedding; 0: one-hot. [default: by the corpus]")
@_model("--dropout", type=float, metavar="P", help="Share dropped between layers. [default: by the corpus]")
@_model("--tie/--no-tie", default=None, help="Embedding and output share their weights.")
@_model("--layer-norm/--no-layer-norm", default=None, help="Normalise what the state tells a layer's next step.")
@_model("--residual/--no-residual", default=None, help="Each layer but the first adds its values to what it read.")
@_train("--optimizer", type=click.Choice(config.OPTIMIZERS),
        help="muon: Adam but for the recurrent weights. [default: muon; classes: adam]")  # fmt: skip
@_train("--lr", type=float, metavar="X", help="Learning rate. [default: by the corpus]")
@_train("--schedule", type=click.Choice(config.SCHEDULES), help="Course of the learning rate. [default: linear]")
@_train("--warmup", type=int, metavar="N", help=f"Steps of linear rise. {_default(config.TrainConfig, 'warmup')}")
@_train("--lr-decay", type=float, metavar="X",
        help=f"Factor of schedules step and plateau. {_default(config.TrainConfig, 'lr_decay')}")  # fmt: skip
@_train("--lr-decay-after", type=float, metavar="N",
        help=f"Epochs before schedule step decays. {_default(config.TrainConfig, 'lr_decay_after')}")  # fmt: skip
@_train("--clip", type=float, metavar="X",
        help=f"Largest norm of the gradient. {_default(config.TrainConfig, 'clip')}")  # fmt: skip
@_train("--weight-decay", type=float, metavar="X",
        help="Decoupled in adam and muon. [default: 0.1 in muon, else 0]")  # fmt: skip
@_train("--momentum", type=float, metavar="X", help=f"Of sgd. {_default(config.TrainConfig, 'momentum')}")
@_train("--skip-nan/--no-skip-nan", default=None, help="Leave out steps whose gradient is not finite, and count them.")
@_train("--batch-size", type=int, metavar="N", help="Parallel columns. [default: by the corpus]")
@_train("--seq-len", type=int, metavar="N", help="Steps of back-propagation. [default: by the corpus]")
@_train("--seed", type=int, metavar="N", help=f"Of everything drawn. {_default(config.TrainConfig, 'seed')}")
@_train("--threads", type=int, metavar="N", help="[default: all that it may use]")
@_train("--engine", type=click.Choice(config.ENGINES), help="torch: on a GPU or several machines. [default: numpy]")
@_train("--device", metavar="NAME", help="Of engine torch: cpu, cuda, cuda:1, mps. [default: a GPU if there is one]")
@_train("--precision", type=click.Choice(config.PRECISIONS),
        help="Of engine torch's training steps. [default: float32]")  # fmt: skip
@_stop("--epochs", type=float, metavar="N", help="Stop after so many passes. [default: by the corpus]")
@_stop("--steps", type=int, metavar="N", help="Stop after so many updates.")
@_stop("--minutes", type=float, metavar="X", help="Stop after so much time; the schedule ends with it.")
@_stop("--patience", type=int, metavar="N", help="Stop after N evaluations without a better one.")
@_stop("--eval-every", type=int, metavar="N", help="Steps between evaluations. [default: 5 % of the time]")
@_stop("--save-every", type=int, metavar="N", help="Steps between saves. [default: a minute]")
@_stop("--log-every", type=int, metavar="N", help="Steps between lines of the log.")
def train(model: str, resume: bool, force: bool, quiet: bool, **options: Any) -> int:
    """Train a model on CORPUS: text files, compressed ones too, or - for stdin.

    Lines or whole files, sizes, and how long to train follow from the corpus; every option overrides its part.
    """
    started = time.monotonic()
    if resume and force:
        raise UsageError("give --resume or --force, not both")
    context = click.get_current_context()
    asked = Given(context)
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    for name in HELD_OUT:
        if len(given.get(name, ())) == 1:
            (given[name],) = given[name]  # as a run with one such file remembers it
    for name in _outdone(context, given):
        del given[name]
    if not resume:  # which goes by the settings of the run that it takes up
        refuse_useless(asked, given)
    from charlm.directory import Directory
    from charlm.engines import parallel
    from charlm.run_files import files_of
    from charlm.runs import open_run
    from charlm.text.reading import is_standard_input

    if parallel.rank_count() > 1:
        parallel.ranks()  # before the corpus is read, which may take longer than the others would wait
    if parallel.rank() > 0:
        parallel.follow()
    if not quiet and any(is_standard_input(path) for path in files_of(given)):
        tell_what_is_awaited("the text")
    with Signals(context.meta[PROCESS_ENDS]) as signals, Directory(model, force) as directory:
        with signals.at_once():
            run = open_run(directory, given, resume, started)
            refuse_useless_here(asked, run)
        show = Display(run, quiet)
        for progress in run.events(signals.stop):
            show.progress(progress)
        show.end(signals.number)
    return 128 + signals.number if signals.number else 0


def _outdone(ctx: click.Context, given: dict[str, Any]) -> list[str]:
    """Return the settings of a TOML file where a flag or the environment sets another of which a run has one."""
    outdone = []
    for one_of in (config.LIMITS, ("counts", "counts_from")):
        named = [name for name in given if name in one_of]
        from_file = [name for name in named if ctx.get_parameter_source(name) == ParameterSource.DEFAULT_MAP]
        outdone += from_file if len(from_file) < len(named) else []
    return outdone
