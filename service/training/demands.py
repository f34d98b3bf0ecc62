"""What a configuration asks of its data, checked before the first meta-step rather than when an episode happens to miss it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.errors import BadConfigError, BadDataError
from service.learner.episodes import ClassInputs
from service.training.options import TrainOptions
from service.training.processes import Processes
from service.training.tasks import Tasks


@dataclass(frozen=True, slots=True)
class _Demand:
    """One table of the configuration, the part of the data it draws on, and what an episode of it may need at most."""

    table: str
    part: str
    way: int
    shot: int
    queries: int
    group: int = 0


def require_enough(options: TrainOptions, data: Mapping[str, Tasks]) -> None:
    """Hold the data against every table that episodes are drawn by.

    Raises:
        BadDataError: fewer classes than the way, or in too few groups; or a class with fewer images than shots and queries together.
    """
    for demand in _demands(options):
        classes = data[demand.part]
        if isinstance(classes, ClassInputs):  # tasks of no classes are never short of any
            _check(demand, classes)


def require_work_for_all(options: TrainOptions, processes: Processes) -> None:
    """Hold the processes against what there is to share at every step.

    Raises:
        BadConfigError: a process would have no episode of its own, or less than two images of a batch, which have no moments.
    """
    for number, stage in enumerate(options.stages, start=1):
        if stage.episodes < processes.count:
            raise BadConfigError(
                f"[[stages]] {number} has too few episodes a meta-step for {processes.count} processes, got {stage.episodes};"
                f" set episodes = {processes.count} or a multiple, or start fewer processes"
            )
    if options.pretraining.steps and options.pretraining.batch < 2 * processes.count:
        raise BadConfigError(
            f"[pretraining] needs a batch of at least {2 * processes.count} images for {processes.count} processes,"
            f" got {options.pretraining.batch}; raise batch, or start fewer processes"
        )


def _demands(options: TrainOptions) -> Iterator[_Demand]:
    for number, stage in enumerate(options.stages, start=1):
        yield _Demand(f"[[stages]] {number}", "train", stage.way[1], stage.shot[1], stage.queries, stage.group if stage.grouped else 0)
    how, final = options.validation, options.final
    yield _Demand("[validation]", "validation", how.way, how.shot, how.queries)
    # The evaluation table leaves out larger ways, but a meta-model without any row could not be served.
    yield _Demand("[final]", "test", min(final.ways), max(final.shots), final.queries)


def _check(demand: _Demand, classes: ClassInputs) -> None:
    if len(classes) < demand.way:
        raise BadDataError(
            f"{demand.table} of the configuration asks for {demand.way} {demand.part} classes, got {len(classes)};"
            " add classes or lower the way"
        )
    lent = sum(min(len(group), demand.group) for group in classes.groups()) if demand.group else demand.way
    if lent < demand.way:
        raise BadDataError(
            f"{demand.table} of the configuration asks for {demand.way} {demand.part} classes, at most {demand.group} from one group;"
            f" the groups lend {lent}; raise `group`, lower the way, or put the class folders into more parent folders"
        )
    needed, smallest = demand.shot + demand.queries, min(range(len(classes)), key=classes.size)
    if classes.size(smallest) < needed:
        raise BadDataError(
            f"{demand.table} of the configuration asks for {needed} images of every {demand.part} class ({demand.shot} shots and"
            f" {demand.queries} queries), got {classes.size(smallest)} of {classes.names[smallest]!r};"
            " add images, remove the class, or lower shots or queries"
        )
