"""Training: update, evaluate, keep the best, report, until the steps, the epochs or the minutes are used up.

`fit` is a generator: it yields a `Progress` after every step and does nothing between two `next` calls. What
must survive a stop is in `Standing` and the engine's snapshot; a `Keeper` puts it on disk. What is learnt, and what
makes one model better than another, is a `Lesson`'s matter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from charlm.config import TrainConfig
from charlm.engines import Tally, Trainable
from charlm.errors import DivergedError
from charlm.facts import finite
from charlm.nn.optim import learning_rate
from charlm.standing import Standing

# What a token costs in an evaluation, over what it costs in training: no backward pass. A first guess, then measured.
_EVALUATION_COST = 0.35
_EVALUATION_SHARE = 0.05  # at most so much of the time goes to evaluation
_EVALUATIONS = 25  # and no more often than this in a run
_SAVE_SECONDS = 60.0
_REPORTS = 200
_TICK = 1e-6  # seconds, where a coarse clock has not moved at all
_SAMPLES = 5  # after each such share of a run its log has a text, for people to see what was learnt
_MOST_SKIPPED = 100  # steps in a row whose gradient is not finite: the weights will not recover
_ENDING_SECONDS = 0.5  # set aside for the last save


@dataclass(frozen=True)
class Merit:
    """How good weights are: a ratio, the larger the better; where it is the same, nats, the fewer the better.

    The ratio is right / of, in whole numbers, so that equal ratios are equal. `network` has the nats of the network
    alone where something else predicts beside it: its learning rate goes by these, and of weights that are as good
    beside it, those whose network is better are.
    """

    nats: float
    right: int = 0
    of: int = 1
    network: float | None = None

    def beats(self, other: Merit) -> bool:
        """Return whether this is better; never where the nats are not finite."""
        mine, others = self.right * other.of, other.right * self.of
        return math.isfinite(self.nats) and (mine, -self.nats, -(self.network or 0.0)) > (
            others, -other.nats, -(other.network or 0.0)
        )  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """What happened up to a step. Losses in nats per token; None where not measured at this step."""

    step: int
    tokens: int
    seconds: float
    fraction: float  # of the whole run, 0 to 1
    epoch: float
    lr: float
    grad_norm: float
    train_nats: float
    tokens_per_second: float
    reported: bool  # whether it is a line of the log
    last: bool  # whether the run ends here
    figures: Mapping[str, float | int | None]  # of the validation, by their names in the log
    valid: Tally | None = None
    best: bool = False
    sample: str | None = None  # what the model writes by now, where the log has it
    until_valid: float | None = None  # seconds to the next evaluation, about; None where none comes

    def log_entry(self) -> dict[str, Any]:
        """Return the log's line: names and units are part of the file format."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "epoch": round(self.epoch, 4),
            "seconds": round(self.seconds, 3),
            "train_nats": self.train_nats,
            **self.figures,
            "lr": self.lr,
            "grad_norm": finite(self.grad_norm),  # a skipped step's is not
            "tokens_per_second": round(self.tokens_per_second, 1),
            "sample": self.sample,
        }


class Keeper(Protocol):
    """Has the model of a run, and puts the run on disk."""

    def example(self, step: int) -> str | None:
        """Return a text that shows what the model can do by now, if there is one to show."""

    def save_model(self, progress: Progress) -> None:
        """Keep the present weights as the model."""

    def save_resume(self, standing: Standing, hidden: Any) -> None:
        """Keep all that going on from here needs."""

    def log(self, progress: Progress) -> None:
        """Append a line to the log."""


class Batches(Protocol):
    """What is learnt from, epoch by epoch."""

    @property
    def batch_size(self) -> int:
        """How many columns the state has that is carried from batch to batch."""

    @property
    def size(self) -> int:
        """How many tokens a batch has, about."""

    @property
    def shape(self) -> str:
        """How large a batch is, in words."""

    @property
    def note(self) -> str | None:
        """What the user should know of the batches, if anything."""

    def chunks(self, epoch: int) -> int:
        """Return how many batches an epoch has."""

    def epoch(self, number: int, first: int = 0) -> Iterator[Any]:
        """Yield the batches of an epoch from number `first` on."""


class Lesson(Protocol):
    """What is to be learnt, and how well it has been."""

    @property
    def train(self) -> Batches:
        """What is learnt from."""

    @property
    def valid_tokens(self) -> int:
        """How many tokens an evaluation reads; 0: there is nothing to evaluate on."""

    @property
    def test_tokens(self) -> int:
        """How many are read after the end, within the minutes allowed."""

    def evaluate(self, engine: Any, stop: Callable[[], bool]) -> Tally | None:
        """Return the tally of the validation part; None if `stop` interrupted it."""

    def merit(self, valid: Tally) -> Merit | None:
        """Return what the best weights are chosen by; None where it tells nothing."""

    def figures(self, part: str, tally: Tally | None) -> dict[str, float | int | None]:
        """Return the figures of a part for the log and the model's file, each name with the part before it."""


def never() -> bool:
    """The default answer to `stop()`."""
    return False


def fit(
    engine: Trainable[Any], lesson: Lesson, config: TrainConfig, keeper: Keeper,
    standing: Standing | None = None, hidden: Any = None,
    started: float | None = None, stop: Callable[[], bool] = never,
) -> Iterator[Progress]:  # fmt: skip
    """Train, yielding the progress after every step.

    `standing` and `hidden` go on from a stop. `started` (time.monotonic) is when the minutes began to count. When
    `stop()` turns true, the step under way is finished, the state saved and the generator ends. Raises
    DivergedError where the loss stops being finite.
    """
    begun = time.monotonic() if started is None else started
    run = _Run(engine, lesson, config, keeper, standing or Standing(), begun, stop)
    run.hidden = engine.zero_state(run.batches.batch_size) if hidden is None else hidden
    # No word of `stop` here: it is answered in a step, which saves; and a run has one step, for there to be a model.
    while not run.standing.step or not run.ended():
        for batch in run.batches.epoch(run.standing.epoch, run.standing.chunk):
            progress = run.step(batch)
            yield progress
            if progress.last:
                return
        run.standing.epoch += 1
        run.standing.chunk = 0


class _Run:
    """One call of `fit`: the clock, and a method for each thing that happens at a step."""

    def __init__(
        self, engine: Trainable[Any], lesson: Lesson, config: TrainConfig, keeper: Keeper, standing: Standing,
        started: float,
        stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.engine, self.lesson, self.config, self.keeper = engine, lesson, config, keeper
        self.standing, self.stop = standing, stop
        self.batches = lesson.train
        self.hidden: Any = None
        self._started = started - standing.seconds  # as if earlier sittings had been part of this one
        self._steps = config.steps or (config.epochs and math.ceil(config.epochs * self.batches.chunks(0)))
        self._updating = 0.0  # seconds in updates since the last report,
        self._read = 0  # which read so many tokens
        self._tokens_per_second = 0.0
        self._evaluation_speed = 0.0  # tokens/s of the last evaluation
        self._last_evaluation = self._last_save = time.monotonic()

    def step(self, batch: Any) -> Progress:
        """Update on one batch; evaluate, report and save where due."""
        standing, begun = self.standing, time.monotonic()
        lr = learning_rate(self.config, standing.step, self._fraction(), self._epoch(), standing.plateaus)
        loss, norm = self._update(batch, lr)
        self._count(loss, time.monotonic() - begun)
        valid = self._evaluate() if self._evaluation_due() else None
        best = valid is not None and self._judge(valid)
        ended = self.ended()
        last = ended or self.stop()
        reported = ended or valid is not None or standing.step % self._log_every() == 0
        sample = self._sample(valid, ended) if reported else None
        standing.seconds = time.monotonic() - self._started
        progress = Progress(
            standing.step, standing.tokens, standing.seconds, self._fraction(), self._epoch(), lr, norm,
            standing.pending_nats / max(1, standing.pending_count), self._tokens_per_second,
            reported, last, self.lesson.figures("valid", valid), valid, best, sample,
            None if last else self._until_evaluation(),
        )  # fmt: skip
        self._keep(progress)
        return progress

    def _update(self, batch: Any, lr: float) -> tuple[Tally, float]:
        """Let the engine learn; a step whose gradient is not finite leaves all as it was, if it may be skipped."""
        standing = self.standing
        try:
            loss, norm, self.hidden = self.engine.update(batch, self.hidden, lr)
        except DivergedError as error:
            standing.skipped += 1
            standing.skipped_in_a_row += 1
            if self.config.skip_nan and standing.skipped_in_a_row < _MOST_SKIPPED:
                return Tally(), math.nan
            raise DivergedError(f"step {standing.step + 1}: {error}; what was saved before is kept") from None
        standing.skipped_in_a_row = 0
        return loss, norm

    def ended(self) -> bool:
        """Return whether the run is complete: a stop that somebody asked for leaves no trace in it."""
        return self._fraction() >= 1 or self._out_of_patience()

    def _count(self, loss: Tally, seconds: float) -> None:
        standing = self.standing
        standing.step += 1
        standing.chunk += 1
        standing.tokens += loss.read
        standing.pending_nats += loss.nats
        standing.pending_count += loss.count
        self._updating += seconds
        self._read += loss.read
        self._tokens_per_second = self._read / max(_TICK, self._updating)

    def _sample(self, valid: Tally | None, ended: bool) -> str | None:
        """Return a sample where one is due: at first, after each share of the run, and at the end.

        It comes with an evaluation, which says how good the model is that wrote it, where there are any.
        """
        if not math.isfinite(valid.nats) if valid else self.lesson.valid_tokens:
            return None
        standing, share = self.standing, int(self._fraction() * _SAMPLES)
        if standing.sampled is not None and share <= standing.sampled and not ended:
            return None
        sample = self.keeper.example(standing.step)
        standing.sampled = standing.sampled if sample is None else share
        return sample

    def _keep(self, progress: Progress) -> None:
        """Put on disk what is due: the log's line, the model, the standing."""
        if progress.reported:
            self.keeper.log(progress)
            self.standing.pending_nats, self.standing.pending_count = 0.0, 0
            self._updating, self._read = 0.0, 0
        due = progress.last or progress.best or self._save_due()
        if progress.best or (due and self.standing.best is None):
            self.keeper.save_model(progress)
        if due:
            self.keeper.save_resume(self.standing, self.hidden)
            self._last_save = time.monotonic()

    def _evaluate(self) -> Tally | None:
        begun = time.monotonic()
        stop = never if self._repeatable() else self.stop
        valid = self.lesson.evaluate(self.engine, stop)
        self._last_evaluation = time.monotonic()
        if valid is not None:
            self._evaluation_speed = self.lesson.valid_tokens / max(_TICK, self._last_evaluation - begun)
        return valid

    def _judge(self, valid: Tally) -> bool:
        """Count the evaluation and return whether it is the best so far.

        Where the lesson cannot tell, nothing is better or worse: then patience and plateaus do not count either.
        """
        merit, standing = self.lesson.merit(valid), self.standing
        if merit is None:
            return False
        best = standing.best
        before = None if best is None else Merit(best, standing.best_right, standing.best_of, standing.best_network)
        better = math.isfinite(merit.nats) if before is None else merit.beats(before)
        learning = better if merit.network is None else self._network_is_better(merit.network)
        standing.plateaus += not learning
        standing.stale = 0 if better or learning else standing.stale + 1
        if better:
            standing.best, standing.best_right, standing.best_of = merit.nats, merit.right, merit.of
            standing.best_network, standing.best_step = merit.network, standing.step
        return better

    def _network_is_better(self, nats: float) -> bool:
        """Return whether the network alone is better than ever, and note it."""
        best = self.standing.network_best
        better = math.isfinite(nats) and (best is None or nats < best)
        if better:
            self.standing.network_best = nats
        return better

    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self.standing.stale >= self.config.patience

    def _fraction(self) -> float:
        """Return how much of the run is done: time over time allowed, or steps, or epochs."""
        if self.config.minutes is not None:
            allowed = 60 * self.config.minutes
            training = max(allowed / 10, allowed - self._ending_seconds())
            return min(1.0, (time.monotonic() - self._started) / training)
        if self.config.steps is not None:
            return self.standing.step / self.config.steps
        return self._epoch() / self.config.epochs if self.config.epochs is not None else 0.0

    def _ending_seconds(self) -> float:
        """Return how long the last evaluation, the test part and the last save will take."""
        return _ENDING_SECONDS + self._evaluation_seconds(self.lesson.valid_tokens + self.lesson.test_tokens)

    def _evaluation_seconds(self, tokens: int) -> float:
        speed = self._evaluation_speed or self._tokens_per_second / _EVALUATION_COST
        return tokens / speed if speed else 0.0

    def _epoch(self) -> float:
        """Return the epochs read, with the fraction of the present one."""
        return self.standing.epoch + self.standing.chunk / self.batches.chunks(self.standing.epoch)

    def _repeatable(self) -> bool:
        """Return whether evaluations come at fixed steps, so that none may be left out when somebody stops the run."""
        return self.config.eval_every is not None or bool(self._steps)

    def _evaluation_due(self) -> bool:
        if not self.lesson.valid_tokens:
            return False
        if self._repeatable():
            return self._fraction() >= 1 or self.standing.step % self._eval_every() == 0
        if self.stop():
            return False
        left, since = self._seconds_left(), time.monotonic() - self._last_evaluation
        return left <= 0 or min(since, 2 * left) > self._evaluation_interval()

    def _seconds_left(self) -> float:
        return (1 - self._fraction()) * 60 * (self.config.minutes or 0)

    def _evaluation_interval(self) -> float:
        """Return the seconds between two evaluations of a run by the clock."""
        cost = self._evaluation_seconds(self.lesson.valid_tokens)
        return max(cost / _EVALUATION_SHARE, 60 * (self.config.minutes or 0) / _EVALUATIONS)

    def _until_evaluation(self) -> float | None:
        """Return about how many seconds are left until the next evaluation, None if none comes."""
        if not self.lesson.valid_tokens or not self._tokens_per_second:
            return None
        if self._repeatable():
            every = self._eval_every()
            steps = every - self.standing.step % every
            if self._steps:
                steps = min(steps, self._steps - self.standing.step)
            return max(0, steps) * self.batches.size / self._tokens_per_second
        left, interval = self._seconds_left(), self._evaluation_interval()
        wait = max(0.0, interval - (time.monotonic() - self._last_evaluation))
        return wait if 2 * (left - wait) > interval else left

    def _eval_every(self) -> int:
        """Return the interval in steps: from the sizes alone, never the clock, so that a run can be repeated."""
        if self.config.eval_every is not None:
            return self.config.eval_every
        cost = self.lesson.valid_tokens * _EVALUATION_COST / self.batches.size
        return max(1, math.ceil(cost / _EVALUATION_SHARE), math.ceil((self._steps or 0) / _EVALUATIONS))

    def _log_every(self) -> int:
        return self.config.log_every or max(1, int(self._steps or 0) // _REPORTS, 10 if self.config.minutes else 1)

    def _save_due(self) -> bool:
        if self.config.save_every is not None:
            return self.standing.step % self.config.save_every == 0
        return time.monotonic() - self._last_save > _SAVE_SECONDS
