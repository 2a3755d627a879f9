"""Options of `charlm train` that can do nothing beside the others: refused by name, not taken in silence.

Only what stands on the command line is refused. A TOML file may hold settings for several runs, and the one that a
run writes lists every setting, also those that its optimizer or schedule has no use for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from charlm.cli.given import Given
from charlm.config import LIMITS
from charlm.run_settings import task_name
from charlm.tasks import task_named

if TYPE_CHECKING:
    from charlm.runs import Run

_OF_NETWORKS = (
    "init_from", "keep_vocabulary", "context", "engine", "device", "precision", "batch_size", "seq_len", "seed",
    "cell", "nonlinearity", "hidden", "head_layers", "head_hidden", "embedding", "dropout", "tie", "layer_norm",
    "residual", "optimizer", "lr", "schedule", "warmup", "lr_decay", "lr_decay_after", "clip", "weight_decay",
    "momentum", "skip_nan", "threads", *LIMITS, "patience", "eval_every", "save_every", "log_every",
)  # fmt: skip

Reason = tuple[bool, str, tuple[str, ...]]  # whether the options after it are of no use, and why


def refuse_useless(asked: Given, settings: Mapping[str, Any]) -> None:
    """Raise UsageError, before anything is read, for an option that these settings leave without effect."""
    _refuse(asked, _before_reading(settings))


def refuse_useless_here(asked: Given, run: Run) -> None:
    """Raise UsageError for an option that has no effect on a run that begins, now that its corpus is known."""
    if not run.standing.step:
        _refuse(asked, _once_read(run))


def _refuse(asked: Given, reasons: Iterator[Reason]) -> None:
    for useless, why, names in reasons:
        if useless:
            asked.refuse(why, *names)


def _before_reading(settings: Mapping[str, Any]) -> Iterator[Reason]:
    if settings.get("layers") == 0:
        yield True, "--layers 0 counts, and trains no network", _OF_NETWORKS
    optimizer, schedule = settings.get("optimizer", "muon"), settings.get("schedule", "linear")
    yield optimizer != "sgd", "only --optimizer sgd has a momentum to set", ("momentum",)
    yield schedule not in ("step", "plateau"), "only the schedules step and plateau decay by a factor", ("lr_decay",)
    yield schedule != "step", "only --schedule step waits for epochs", ("lr_decay_after",)
    scaled = settings.get("init_from") is not None
    yield scaled, "the embedding comes from the model of --init-from", ("embedding_scale",)
    for part in ("valid", "test"):
        why = f"--{part}-file takes the place of a share of the corpus"
        yield settings.get(f"{part}_file") is not None, why, (f"{part}_fraction",)
    for name, why in task_named(task_name(settings)).useless.items():
        yield True, why, (name,)
    yield not _draws_lines(settings), "no line is drawn for validation or test", ("split_seed",)


def _once_read(run: Run) -> Iterator[Reason]:
    yield run.settings.text.tokenizer == "byte", "bytes are read as they are", ("encoding",)
    yield not run.course.drawn, "a document is cut by its length, and nothing is drawn", ("split_seed",)
    model = run.settings.model
    yield model.residual and model.layers == 1, "a single layer has none below it", ("residual",)
    why = "this run has no validation part"
    yield not run.lesson.valid_tokens, why, ("patience", "eval_every")
    yield not run.lesson.valid_tokens and run.settings.train.schedule == "plateau", why, ("schedule",)


def _draws_lines(settings: Mapping[str, Any]) -> bool:
    usual = {"valid": 0.1, "test": 0.0}
    return any(
        settings.get(f"{part}_file") is None and settings.get(f"{part}_fraction", share) > 0
        for part, share in usual.items()
    )
