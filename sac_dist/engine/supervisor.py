"""The main process of a run: it decides when to log, to evaluate, to checkpoint and to stop."""

from __future__ import annotations

import time
from typing import Any, NoReturn

from sac_dist.acting.environment import is_arm_task
from sac_dist.acting.hand import Hand
from sac_dist.acting.reels import Reels
from sac_dist.acting.suitability import RewardWatch
from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.moments import Moments
from sac_dist.data.returns import returns_of
from sac_dist.data.schema import Schema
from sac_dist.data.transitions import Transitions
from sac_dist.engine.checkpointing import Checkpointing, NotFiniteState
from sac_dist.engine.children import MORE_REPORTS, Children, GivenUp
from sac_dist.engine.compiler import CompilerTask, compiler_main, not_compiled, quick_uncompiled
from sac_dist.engine.control import EPISODES, OFFLINE_UPDATES, STEPS, UPDATES, Control
from sac_dist.engine.corrected import CorrectionsFile
from sac_dist.engine.divergence import Diverged, all_finite, explain, origin
from sac_dist.engine.ends import EndWatch
from sac_dist.engine.evaluations import Evaluations
from sac_dist.engine.evaluator import TARGET_EPISODES, Confirming, NotFinite, NotWritten, OutOfTime, Result
from sac_dist.engine.guard import Guard
from sac_dist.engine.member import Boundary, EpisodeDone, Failure, NotCompiled, Note, UpdatesDone
from sac_dist.engine.outcome import Outcome, TrainingFailed
from sac_dist.engine.parts import Engine, EngineInputs, Part
from sac_dist.engine.phases import Phase, phases
from sac_dist.engine.processes import Child
from sac_dist.engine.start_method import start_context
from sac_dist.engine.watching import watcher
from sac_dist.execution.threads import update_threads
from sac_dist.formats.check import digest
from sac_dist.reporting.reporter import Reporter
from sac_dist.settings import Config
from sac_dist.settings.allowance import usable_processors
from sac_dist.storage import checkpoint
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.system.signals import StopSignals

LOG_INTERVAL = 1000  # environment steps, or offline updates, between rows of metrics.csv
# s after messages in which the next ones gather: each would wake this process, and workers need the processor
REST = 0.02
COMPILE_AFTER = 20.0  # s of training before it is compiled for: a run that is over sooner has no use for it


class Supervisor:
    """One training run in ``folder``. :meth:`run` blocks until it ends; every child has ended when it
    returns.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        schema: Schema,
        reporter: Reporter,
        engine: type[Engine],
        signals: StopSignals,
        demos: Transitions | None = None,
        saved: Checkpoint | None = None,
    ) -> None:
        """``demos``: what ``config.data.files`` hold. ``saved``: a run's last checkpoint to go on from."""
        self.config, self.folder, self.reporter, self.signals = config, folder, reporter, signals
        self.agent = SACAgent(schema, config.agent, config.train.seed, config.algorithms)
        self.control = Control(config.train.members)
        self.data_digest = None if demos is None else digest(demos)
        self.watches = EndWatch(), RewardWatch(config.agent)
        self.printed_failures: set[str] = set()
        self.phases = phases(config, 0 if demos is None else len(demos))
        self.threads = update_threads(self.agent, config.train)
        self.checkpoints = Checkpointing(
            config, folder, self.agent, self.control, reporter.note, self._more_of_state
        )
        in_ring = demos is not None and config.data.demo_overwrite
        data, stored = None if in_ring else demos, self.checkpoints.replay_files.stored
        shown = config.train.watch and config.train.engine == "local"
        self.reels = Reels(config.train.workers) if shown else None
        steered = config.train.interventions and config.train.watch and is_arm_task(config.env)
        self.hand = Hand() if steered else None
        self.corrections_file = CorrectionsFile(folder.interventions, config.env)
        self.engine = engine(
            EngineInputs(config, self.agent, self.control, data, stored, reporter.note, self.reels, self.hand)
        )
        self.evaluations = Evaluations(config, self.control, self.engine, reporter.note)
        # the evaluator has no processor to itself; nobody who steers may be held up
        self.crowded = (
            config.train.engine == "local"
            and config.train.members >= usable_processors()
            and not config.train.interventions
        )
        try:
            if saved is not None:
                self._restore(saved)
            elif demos is not None:
                self._begin_with(demos, in_ring)
        except BaseException:
            self.engine.close()
            raise

    def _begin_with(self, demos: Transitions, in_ring: bool) -> None:
        if self.agent.normalization is not None:
            self.agent.normalization.add(Moments.of(demos.observation))
        if self.agent.reward_scale is not None:
            self.agent.reward_scale.add(returns_of(demos, self.config.agent))
        if in_ring:
            self.engine.prefill(demos)
            # now, when no worker has to wait for it
            files = self.checkpoints.replay_files
            files.write(files.copy_new(self.engine.replay))

    def _restore(self, saved: Checkpoint) -> None:
        assert saved.run is not None
        self.agent.load_state_dict(saved.agent)
        self.checkpoints.restore(saved, self.engine)
        if self.engine.corrections is not None:
            self.corrections_file.restore(self.engine.corrections)
        self.evaluations.best_score = saved.run["best_score"]
        self.evaluations.best_rate = saved.run.get("best_rate")
        self.evaluations.evaluated = saved.run.get("evaluated", self.control.clock())

    def _more_of_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside members and replay. The log knows only what this process has
        received: nothing comes in until it is copied.
        """
        return {
            "best_score": self.evaluations.best_score,
            "best_rate": self.evaluations.best_rate,
            "evaluated": self.evaluations.evaluated,
            "data": self.data_digest,
            "log": self.reporter.state(),
        }

    def run(self) -> Outcome:
        """Train until a budget is reached or a signal arrives. Raise TrainingFailed when a part fails for
        good.
        """
        self.reporter.start(self.agent)
        self._make_children()
        try:
            self._compile()
            self._start()
            self._watch()
            return self._finish()
        except GivenUp as failure:
            self._end_given_up(failure.part)
        finally:
            self.children.kill()
            self.engine.close()

    def _make_children(self) -> None:
        train, note = self.config.train, self.reporter.note
        members = [
            self.engine.member(rank, self.checkpoints.state_of_start(rank)) for rank in range(train.members)
        ]
        evaluations = self.evaluations
        evaluations.evaluator = self.engine.evaluator(
            self.folder.best.absolute(), lambda: evaluations.best_score
        )
        self.compile_at: float | None = None  # s of training
        context = start_context(with_compiler=train.compiles)
        self.compiler = Child(context, "compiler", compiler_main, self._compiler_task, restarts=False)
        self.services = self.engine.services(self.folder.path)
        if train.watch:
            self.services.append(
                watcher(context, self.config, self.folder.path, self.reels, self.control, self.hand)
            )
        others = [evaluations.evaluator, self.compiler, *self.services]
        watched = [*members, evaluations.evaluator]
        guard = Guard(watched, self.control, train.step_timeout, train.worker_memory, note)
        self.children = Children(
            self.engine, self.control, self.signals, guard, members, others, self._handle, note
        )

    def _start(self) -> None:
        evaluator = [self.evaluations.evaluator] if self.config.train.eval_interval else []
        for part in (*self.children.members, *evaluator, *self.services):
            part.start()

    # Compiled updates

    def _compiler_task(self, start: int) -> tuple[CompilerTask]:
        return (CompilerTask(self.agent, self._not_compiled(), self.threads),)

    def _not_compiled(self) -> tuple[Phase, ...]:
        return not_compiled(self.agent, self.phases.values(), self.threads)

    def _compile(self) -> None:
        """Have the updates compiled: before a single worker starts, so that it repeats a run bit for bit;
        beside more processes, which begin with uncompiled ones, at once, or later where those are quick.
        """
        train = self.config.train
        missing = self._not_compiled() if train.compiles else ()
        if not missing:
            return
        if train.compile == "auto" and train.members > 1:
            quick = all(quick_uncompiled(self.agent, phase) for phase in missing)
            self.compile_at = COMPILE_AFTER if quick else 0.0
            return
        self._start_compiler()
        while not self.compiler.ended and self.signals.received is None:
            self.children.receive(0.1)
            self.children.look_after()

    def _start_compiler(self) -> None:
        self.reporter.note(
            "compiling the update, once for this machine and these networks: updates are quicker after"
        )
        self.compile_at = None
        self.compiler.start()

    # The time in which the members train

    def _watch(self) -> None:
        train, evaluations = self.config.train, self.evaluations
        clock = self.control.clock()
        next_log = after(self.reporter.last_row, LOG_INTERVAL)
        next_evaluation = after(evaluations.evaluated, train.eval_interval)
        next_checkpoint = after(clock, train.checkpoint_interval)
        next_kept = after(clock, train.keep_interval)
        members = self.children.members
        while self._reason_to_stop() is None and not all(member.ended for member in members):
            time.sleep(REST)
            self.children.receive(0.1 - REST)
            self.children.look_after()
            self._show_progress()
            if evaluations.target_reached:
                break
            if evaluations.confirming and self.crowded:
                self._make_way()
            if self.compile_at is not None and self.reporter.wall_time_s >= self.compile_at:
                self._start_compiler()
            clock = self.control.clock()
            if clock >= next_log:
                self._log_row()
                next_log = after(clock, LOG_INTERVAL)
            if (
                train.eval_interval
                and clock >= next_evaluation
                and evaluations.evaluator.running
                and not evaluations.waiting
            ):
                evaluations.request(train.eval_episodes, self.reporter.wall_time_s)
                next_evaluation = after(clock, train.eval_interval)
            if clock >= next_checkpoint:
                self.checkpoints.pause(self.children)
                self._write_checkpoint()
                next_checkpoint = after(self.control.clock(), train.checkpoint_interval)
            if train.keep_interval and clock >= next_kept and all_finite(self.engine.gather()):
                offline = self.control.total(OFFLINE_UPDATES)
                info = {"steps": clock - offline, "offline_updates": offline}
                checkpoint.save_policy(self.folder.kept(clock), self.agent, self.config, info)
                next_kept = after(clock, train.keep_interval)

    def _make_way(self) -> None:
        """Have the members stand still while a success target is confirmed. Beside them that takes several
        times as long; and if it is confirmed, nothing that they train meanwhile is of use.
        """
        self.checkpoints.pause(self.children)
        while self.evaluations.waiting and self._reason_to_stop() is None:
            self.children.receive(0.1)
            self.children.look_after()
        self.control.resume()

    def _reason_to_stop(self) -> str | None:
        """What ends the run from here; step and episode budgets end it in the workers."""
        if self.signals.received is not None:
            return self.signals.received.name
        if self.evaluations.target_reached:
            return "success_target"
        if self.reporter.stop_reason is not None:
            return self.reporter.stop_reason
        if self.config.train.time is not None and self.reporter.wall_time_s >= self.config.train.time:
            return "time"
        return None

    def _budget_reached(self) -> str:
        if self.config.data.offline:
            return "offline_steps"
        episodes = self.config.train.episodes
        return "episodes" if episodes is not None and self.control.total(EPISODES) >= episodes else "steps"

    def _write_checkpoint(self) -> None:
        """Of members that stand still, and which go on with it."""
        if self.engine.corrections is not None:
            self.corrections_file.write(self.engine.corrections)
        try:
            clock = self.checkpoints.write(self.engine, self.children.members)
        except NotFiniteState:
            self._end_diverged(None)
        self.reporter.checkpoint(clock, self.folder.last)

    # The end

    def _finish(self) -> Outcome:
        """Stop the members, save, and measure the last policy."""
        reason, finished = self._reason_to_stop() or self._budget_reached(), self.signals.received is None
        if self.signals.received is not None:
            self.reporter.note(f"{self.signals.received.name}: saving (once more to leave at once)")
        self.checkpoints.stop(self.children)
        self._write_checkpoint()
        stopped = self.signals.received is not None or self.reporter.failure is not None
        if self.config.train.eval_interval and self.reporter.measures and not stopped:
            self.evaluations.measure_final(self.children, self.reporter.wall_time_s)
        self._log_row()
        self._write_checkpoint()
        return Outcome(
            reason if self.signals.received is None else self.signals.received.name,
            self.control.total(STEPS),
            self.control.total(UPDATES),
            self.control.total(EPISODES),
            self.reporter.wall_time_s,
            self.evaluations.last if self.signals.received is None and self.reporter.measures else None,
            finished,
        )

    def _end_given_up(self, part: Part) -> NoReturn:
        death = f"{part.last_death} {part.failures} times in a row"
        part.ended = True
        self.checkpoints.stop(self.children)
        self._write_checkpoint()
        reason = f"; the last time: {part.last_words}" if part.last_words else ""
        raise TrainingFailed(f"{death}; saved to {self.folder.last}{reason}")

    def _end_diverged(self, report: Diverged | None) -> NoReturn:
        """The networks are lost: end the run at its last checkpoint, and say how it came about."""
        time.sleep(MORE_REPORTS)
        members = [member for member in self.children.members if member.running]
        messages = [message for member in members for message in member.receive()]
        reports = [message for message in (report, *messages) if isinstance(message, Diverged)]
        nearest = origin(reports) if reports else None
        if nearest is not None:
            self.reporter.update(self.control.clock(), nearest.metrics)
        self._log_row()
        raise TrainingFailed(explain(nearest, self.folder.last, self.folder.path, self.config.agent))

    # What the parts say

    def _handle(self, child: Part, message: object) -> None:
        if isinstance(message, Boundary):
            self.checkpoints.take(self.children.members.index(child), message)
            child.ended = message.final
        elif isinstance(message, Diverged):
            self._end_diverged(message)
        elif isinstance(message, (EpisodeDone, UpdatesDone)):
            if isinstance(message, EpisodeDone):
                self.reporter.episode(self.control.clock(), message.episode)
                for line in filter(None, (watch.take(message.episode) for watch in self.watches)):
                    self.reporter.note(f"{self.config.env.name}: {line}")
            if message.metrics:
                self.reporter.update(self.control.clock(), message.metrics)
        elif isinstance(message, Confirming):
            self.evaluations.confirming = True
            if self.crowded:
                self.reporter.note(
                    f"success {message.successes}/{message.episodes}: training waits while "
                    f"{TARGET_EPISODES} episodes of this policy are measured"
                )
        elif isinstance(message, Result):
            self.reporter.evaluation(message.steps, message.evaluation)
            self.evaluations.take(message)
        elif isinstance(message, (NotFinite, OutOfTime)):
            self.evaluations.give_up(message.reason)
            self.reporter.note(f"no evaluation at {message.steps:,}: {message.reason}")
        elif isinstance(message, NotWritten):
            raise message.error
        elif isinstance(message, Note):
            self.reporter.note(message.text)
        elif isinstance(message, NotCompiled):
            self._note_once(
                message.obstacle, f"the update stays uncompiled, which is slower: {message.obstacle}"
            )
        elif isinstance(message, Failure):
            child.last_words = message.text.strip().splitlines()[-1]
            self._note_once(message.text, f"{child.name} failed:\n{message.text}")

    def _note_once(self, key: str, text: str) -> None:
        if key not in self.printed_failures:
            self.printed_failures.add(key)
            self.reporter.note(text)

    # Showing

    def _log_row(self) -> None:
        counters: dict[str, float] = {"updates": self.control.total(UPDATES)}
        for name, vector in (
            ("policy", self.agent.policy_parameters),
            ("critic", self.agent.critic_parameters),
        ):
            counters[f"{name}_weight_norm"] = float(vector.norm())
        if self.config.data.files:
            counters["offline_updates"] = self.control.total(OFFLINE_UPDATES)
        self.reporter.row(self.control.clock(), counters)

    def _show_progress(self) -> None:
        control = self.control
        self.reporter.progress(control.clock(), control.total(UPDATES), control.total(EPISODES))


def after(clock: int, interval: int) -> int:
    """The next multiple of ``interval`` above ``clock``; 0: there is no interval."""
    return (clock // interval + 1) * interval if interval else 0
