"""AutoPrune's engine as an arm, with its default options, and its ablations."""

from __future__ import annotations

from dataclasses import replace

from autoprune.core.records import Job
from autoprune.core.seeds import numpy_stream
from autoprune.search.engine import Engine, SearchOptions
from autoprune.search.journal import Journal
from autoprune.search.strategies import Strategy
from autoprune.search.strategies.contextual import Contextual
from autoprune.search.study import header
from autoprune.search.targets import at
from autoprune.space import Targets
from benchmarks.rivals.evaluate import Ask, Bench, Evaluation

ENDLESS = "1000000"


class Ours:
    """The engine, which ends only when the one who asks it does.

    Its budget is counted in jobs and never spent. All that depends on it is the number of random
    jobs at the start: two per method, as with a budget in epochs or time.

    Parameters
    ----------
    options : SearchOptions
        How to search.
    strategy : Strategy, optional
        Replaces that of the options.
    cut : bool
        Cut schedules at the lower rungs.
    """

    def __init__(
        self,
        bench: Bench,
        seed: int,
        options: SearchOptions | None = None,
        strategy: Strategy | None = None,
        *,
        cut: bool = False,
    ) -> None:
        self.bench, self.cut = bench, cut
        chosen = replace(options or SearchOptions(), budget=ENDLESS)
        space = bench.space
        journal = Journal(clock=lambda: 0.0)
        journal.append(header(space.name, space, bench.info, seed, chosen))
        self.engine = Engine(
            space,
            bench.info,
            journal,
            context=bench.context.keys,
            seed=seed,
            options=chosen,
            strategy=strategy,
        )

    def ask(self) -> Ask | None:
        """Ask the engine; it has nothing to say once it turns to confirmation."""
        job = self.engine.next()
        if not isinstance(job, Job) or job.purpose not in ("explore", "lift"):
            return None
        cut = self.cut and job.epochs < self.bench.space.top
        note = {"purpose": job.purpose}
        return Ask(job.config, job.epochs, job.config.sparsity, cut=cut, note=note, key=job)

    def tell(self, ask: Ask, evaluation: Evaluation) -> None:
        """Record the result under the job's own number and name."""
        job: Job = ask.key
        assert evaluation.result is not None, f"the engine asked what is refused: {evaluation}"
        self.engine.record(replace(evaluation.result, job=job.number, trial=job.trial))


def sampled(seed: int) -> Strategy:
    """Return the strategy with targets drawn at random, even in the log density."""

    def draw(index: int, targets: Targets) -> float:
        stream = numpy_stream(seed, "rivals", "sampled", index)
        return at(float(stream.random()), targets.low, targets.high)

    return Contextual(sequence=draw)
