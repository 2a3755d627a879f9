"""What can be learnt, a file a task. A run asks its task for whatever is not the same for all of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from charlm.errors import DataError, UsageError
from charlm.run_settings import LANGUAGE

if TYPE_CHECKING:
    from charlm.config import Section, TextConfig, TrainConfig
    from charlm.engines import Tally, Trainable
    from charlm.run_settings import Settings
    from charlm.text.tokenizers import Tokenizer
    from charlm.training import Lesson

TASKS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


class Material(Protocol):
    """A corpus as a task has read it."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def train_tokens(self) -> int:
        """How many tokens the training part has."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, those of directories one by one."""

    @property
    def digests(self) -> dict[str, str]:
        """What identifies the parts, by their names."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what the user should know."""


class Trained(Protocol):
    """A model with its weights, and what it needs to be used."""

    facts: dict[str, Any]

    @property
    def trained(self) -> Trainable[Any]:
        """The engine that has the weights."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    def metadata(self) -> dict[str, str]:
        """Return what its file says beside the tensors."""

    def save(self, path: Any) -> None:
        """Write the one file that using it needs."""


class Course(Protocol):
    """A lesson as a person follows it: what is told of it in the course of a run."""

    @property
    def lesson(self) -> Lesson: ...

    @property
    def counted(self) -> str:
        """What the targets are, in the plural."""

    @property
    def shape(self) -> list[str]:
        """What more there is to say of the network, in a few words each."""

    @property
    def use(self) -> str:
        """What to do with the model, and the command for it."""

    @property
    def drawn(self) -> bool:
        """Whether it is drawn what goes to which part."""

    def about(self) -> list[str]:
        """Return lines on the parts of the corpus and on the model."""

    def shown(self, part: str, tally: Tally) -> str:
        """Return the figures of a part, "valid" or "test"."""

    @property
    def unit(self) -> str:
        """What the figures of training and validation are, in words."""

    @property
    def merit_unit(self) -> str:
        """The unit of the first of `values`."""

    @property
    def headings(self) -> tuple[str, ...]:
        """What `values` are, in a word or two each."""

    def values(self, part: str, tally: Tally) -> tuple[str, ...]:
        """Return the figures of a part one by one, that which makes a model the best first; "-" for
        one that there is not."""

    def training_value(self, nats: float) -> str:
        """Return the loss of the training steps, given in nats per target."""

    def example(self, step: int) -> str | None:
        """Return a text that shows what the model can do by now, if there is one to show."""

    def validate(self, stop: Callable[[], bool], best: Any) -> Tally | None:
        """Return the tally of all the validation part with the best model; None if each evaluation
        has read all of it, or `stop` interrupted it."""

    def test(self, stop: Callable[[], bool], best: Any) -> Tally | None:
        """Return the tally of the test part with the best model; None if there is none or `stop` interrupted it."""


@runtime_checkable
class Concluding(Protocol):
    """A course that has more to say of the best weights, once a run has ended, than the test
    part."""

    def conclusion(self, stop: Callable[[], bool], best: Any) -> dict[str, Any]:
        """Return facts for the model's file; none if `stop` interrupted it."""


class Task(Protocol):
    """A kind of thing to learn."""

    @property
    def name(self) -> str: ...

    @property
    def section(self) -> type[Section] | None:
        """The settings that only this task has."""

    @property
    def engines(self) -> tuple[str, ...]:
        """Which engines can train it."""

    @property
    def useless(self) -> Mapping[str, str]:
        """Options that do nothing here, and why."""

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise UsageError for settings that no run of this task could have, before anything is read."""

    def base(self, given: Mapping[str, Any]) -> Any:
        """Return the model that a run starts from, None where it starts anew (errors as `load`, and UsageError)."""

    def inherited(self, base: Any) -> dict[str, Any]:
        """Return the settings that come from that model."""

    def read(self, given: Mapping[str, Any], text: TextConfig, base: Any) -> Material:
        """Read a new run's corpus, with the vocabulary of the model that it starts from where there is one."""

    def read_again(self, settings: Settings, known: Any) -> Material:
        """Read a run's corpus once more; `known` is what `known` returned, or a model's `language`."""

    def plan(
        self, material: Any, given: Mapping[str, Any], speed: Callable[[], float]
    ) -> tuple[dict[str, Any], str]:
        """Return settings for what was not given, and a sentence that says why."""

    def resolved(self, material: Any, text: TextConfig) -> dict[str, Any]:
        """Return the settings that the corpus has decided."""

    def knowledge(self, settings: Settings, material: Any) -> Any:
        """Return what a model must know beside its weights and its shape."""

    def known(self, metadata: Mapping[str, str]) -> Any:
        """Return that from a file; raises DataError where anything is missing or wrong."""

    def engine(self, settings: Settings, knowledge: Any) -> Trainable[Any]:
        """Return what trains, with first weights."""

    def start(self, engine: Trainable[Any], base: Any, settings: Settings) -> Iterator[str]:
        """Take over the weights of the model that a run starts from; yield sentences on what came over."""

    def model(
        self, engine: Trainable[Any], settings: Settings, knowledge: Any, facts: dict[str, Any], material: Any
    ) -> Trained:
        """Return the model that is trained; what it takes from the corpus is told in `facts`."""

    def course(self, train: TrainConfig, material: Any, model: Any) -> Course:
        """Return what is learnt and told."""

    def notes(self, material: Any, settings: Settings, base: Any) -> Iterator[str]:
        """Yield sentences on what was decided when the corpus was read."""

    def opened(
        self, tensors: Mapping[str, Any], metadata: Mapping[str, str], train: TrainConfig | None
    ) -> Trained:
        """Return the model that a file's tensors and metadata describe; raises DataError where they do not fit."""


def task_named(name: str) -> Task:
    """Return a task by its name; raises UsageError where there is none such."""
    if name not in TASKS:
        raise UsageError(f"task must be one of {', '.join(TASKS)}, not {name!r:.80}")
    task: Task = importlib.import_module(f"charlm.tasks.{name}").TASK
    return task


def task_of_file(metadata: Mapping[str, str]) -> Task:
    """Return the task of a file by its metadata; raises DataError where this charlm does not know it."""
    name = metadata.get("charlm.task", LANGUAGE)
    if name not in TASKS:
        raise DataError(
            f"its task is {name!r:.80}, which this charlm does not know: update charlm to read it"
        )
    return task_named(name)
