"""The main process of a run: it starts and watches the others, logs, evaluates, checkpoints, and decides when
to stop.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.schema import Schema
from sac_dist.data.transitions import Demonstrations
from sac_dist.engine.compiler import CompilerTask, compiler_main, not_compiled, quick_uncompiled
from sac_dist.engine.control import EPISODES, OFFLINE, STEPS, UPDATES, Control
from sac_dist.engine.divergence import Diverged, all_finite, explain, origin
from sac_dist.engine.evaluator import TARGET_EPISODES, NotFinite, NotWritten, Request, Result
from sac_dist.engine.guard import Guard
from sac_dist.engine.member import Boundary, EpisodeDone, Failure, NotCompiled, UpdatesDone
from sac_dist.engine.outcome import Outcome, TrainingFailed
from sac_dist.engine.parts import Common, Engine, Life, Part
from sac_dist.engine.phases import phases
from sac_dist.engine.processes import Child, StopSignals
from sac_dist.engine.starting import start_context
from sac_dist.reporting.metrics import RunLog
from sac_dist.reporting.terminal import Progress
from sac_dist.settings import Config
from sac_dist.storage import checkpoint
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.storage.segments import ReplayFiles

LOG_INTERVAL = 1000  # environment steps, or offline updates, between rows of metrics.csv
# s after messages in which the next ones gather: each would wake this process, and workers need the processor
REST = 0.02
COMPILE_AFTER = 20.0  # s of training before it is compiled for: a run that is over sooner has no use for it
PATIENCE = 5.0  # s for workers to reach a boundary before the run goes on without their state
MORE_REPORTS = 0.2  # s in which the other processes meet what one of them has met


class Supervisor:
    """One training run in ``folder``. :meth:`run` blocks until it ends; every child has ended when it
    returns.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        observation_size: int,
        action_size: int,
        progress: Progress,
        engine: type[Engine],
        demos: Demonstrations | None = None,
        saved: Checkpoint | None = None,
    ) -> None:
        """``demos``: what ``config.data.files`` hold. ``saved``: a run's last checkpoint to go on from."""
        self.config, self.folder, self.progress = config, folder, progress
        schema = Schema.vector(observation_size, action_size)
        self.agent = SACAgent(schema, config.agent, config.train.seed, config.algorithms)
        self.control = Control(config.train.members)
        self.log = RunLog(folder.path, None if saved is None or saved.run is None else saved.run["log"])
        self.member_states: list[dict[str, Any]] = [
            {} for _ in range(config.train.members)
        ]  # at the newest boundary; empty: unknown
        self.next_generation = [0] * config.train.members
        self.best_score: float | None = None
        self.signals = StopSignals(
            lambda number: progress.note(f"{number.name}: saving (once more to leave at once)")
        )
        self.target_reached = False
        self.last_evaluation: Result | None = None
        self.evaluation_pending = False
        self.evaluated = 0  # the clock of the last evaluation
        self.printed_failures: set[str] = set()
        self.replay_files = ReplayFiles(folder.replay)
        self.phases = phases(config, 0 if demos is None else len(demos))
        in_ring = demos is not None and config.data.demo_overwrite
        data = None if in_ring else demos
        self.engine = engine(
            Common(config, self.agent, self.control, data, self.replay_files.stored, progress.note)
        )
        try:
            if saved is not None:
                self._restore(saved.agent, saved.run or {})
            elif demos is not None and in_ring:
                self.engine.prefill(demos)
                self.replay_files.write(
                    self.replay_files.copy_new(self.engine.replay)
                )  # now, when no worker has to wait for it
        except BaseException:
            self.engine.close()
            raise

    def _restore(self, agent: dict[str, torch.Tensor], run: dict[str, Any]) -> None:
        self.agent.load_state_dict(agent)
        self.control.restore(run["counters"])
        if len(run["workers"]) == self.config.train.members:
            self.member_states = run["workers"]
        self.next_generation = [max(run["next_generation"])] * self.config.train.members
        self.best_score = run["best_score"]
        self.evaluated = run.get("evaluated", self.control.clock())
        self.replay_files.load(run["replay"], self.engine.replay)

    # Life of the run

    def run(self) -> Outcome:
        """Train until a budget is reached or a signal arrives. Raise TrainingFailed when a part fails for
        good.
        """
        self.progress.begin(self.config)
        train = self.config.train
        self.members = [self.engine.member(rank, self._life(rank)) for rank in range(train.members)]
        self.evaluator = self.engine.evaluator(self.folder.best, lambda: self.best_score)
        context = start_context(with_compiler=train.compiles)
        self.compiler = Child(context, "compiler", compiler_main, self._compiler_task, restarts=False)
        self.compile_at: float | None = None  # s of training
        self.children: list[Part] = [*self.members, self.evaluator, self.compiler]
        watched = [*self.members, self.evaluator]
        self.guard = Guard(watched, self.control, train.step_timeout, train.worker_memory, self.progress.note)
        try:
            with self.signals:
                self._compile()
                for child in self.members if train.eval_interval == 0 else watched:
                    child.start()
                self._watch()
                return self._finish()
        finally:
            for child in self.children:
                child.kill()
            self.engine.close()
            self.log.close()
            self.progress.close()

    def _life(self, rank: int) -> Life:
        def begin(start: int) -> tuple[int, dict[str, Any] | None]:
            state = self.member_states[rank] if start == 0 else {}
            generation = state.get("generation", self.next_generation[rank])
            self.next_generation[rank] = generation + 1
            return generation, state or None

        return begin

    def _compiler_task(self, start: int) -> tuple[CompilerTask]:
        return (CompilerTask(self.agent, not_compiled(self.agent, self.phases.values())),)

    def _compile(self) -> None:
        """Have the updates compiled before the workers start, or after a while beside them where they are
        quick enough without.

        A single worker never changes over: a run of the same seed gives the same bits.
        """
        train = self.config.train
        missing = not_compiled(self.agent, self.phases.values()) if train.compiles else ()
        if not missing:
            return
        if (
            train.compile == "auto"
            and train.members > 1
            and all(quick_uncompiled(self.agent, phase) for phase in missing)
        ):
            self.compile_at = COMPILE_AFTER
            return
        self._start_compiler()
        while not self.compiler.ended and self.signals.received is None:
            self._receive(0.1)
            self._restart_dead()

    def _start_compiler(self) -> None:
        self.progress.note(
            "compiling the update, once for this machine and these networks: updates are quicker after"
        )
        self.compile_at = None
        self.compiler.start()

    def _watch(self) -> None:
        train = self.config.train
        clock = self.control.clock()
        next_log, next_evaluation = (
            after(self.log.step, LOG_INTERVAL),
            after(self.evaluated, train.eval_interval),
        )
        next_checkpoint, next_kept = (
            after(clock, train.checkpoint_interval),
            after(clock, train.keep_interval),
        )
        while self._reason_to_stop() is None and not all(member.ended for member in self.members):
            time.sleep(REST)
            self._receive(0.1 - REST)
            self._restart_dead()
            self._show_progress()
            if self.target_reached:
                break
            if self.compile_at is not None and self.log.wall_time_s >= self.compile_at:
                self._start_compiler()
            clock = self.control.clock()
            if clock >= next_log:
                self._log_row()
                next_log = after(clock, LOG_INTERVAL)
            if (
                train.eval_interval
                and clock >= next_evaluation
                and self.evaluator.running
                and not self.evaluation_pending
            ):
                self._request_evaluation(train.eval_episodes)
                next_evaluation = after(clock, train.eval_interval)
            if clock >= next_checkpoint:
                self._checkpoint(self._pause_members)
                next_checkpoint = after(self.control.clock(), train.checkpoint_interval)
            if train.keep_interval and clock >= next_kept and all_finite(self.engine.gather()):
                checkpoint.save_policy(self.folder.kept(clock), self.agent, self.config, {"steps": clock})
                next_kept = after(clock, train.keep_interval)

    def _finish(self) -> Outcome:
        """Stop the workers, save, and measure the last policy."""
        reason = self._reason_to_stop() or self._budget_reached()
        self._checkpoint(self._stop_members)
        if self.signals.received is None and self.config.train.eval_interval:
            self._final_evaluation()
        self._log_row()
        self._checkpoint(lambda: None)
        return Outcome(
            reason,
            self.control.total(STEPS),
            self.control.total(UPDATES),
            self.control.total(EPISODES),
            self.log.wall_time_s,
            None if self.last_evaluation is None else self.last_evaluation.evaluation,
        )

    def _final_evaluation(self) -> None:
        if self.target_reached:
            return  # the policy that reached it has been measured already
        while self.evaluation_pending and self.evaluator.running:
            self._receive(0.1)
            self._restart_dead()
        if not self.evaluator.running:
            return
        self.progress.note(f"evaluating the final policy on {TARGET_EPISODES} unseen episodes")
        self._request_evaluation(TARGET_EPISODES)
        while self.evaluation_pending and self.signals.received is None:
            self._receive(0.1)
            self._restart_dead()

    # Budgets and signals

    def _reason_to_stop(self) -> str | None:
        """What ends the run from here; step and episode budgets end it in the workers."""
        if self.signals.received is not None:
            return self.signals.received.name
        if self.target_reached:
            return "success_target"
        if self.config.train.time is not None and self.log.wall_time_s >= self.config.train.time:
            return "time"
        return None

    def _budget_reached(self) -> str:
        if self.config.data.offline:
            return "offline_steps"
        episodes = self.config.train.episodes
        return "episodes" if episodes is not None and self.control.total(EPISODES) >= episodes else "steps"

    # Messages and deaths

    def _receive(self, timeout: float) -> list[Part]:
        """Handle what has arrived within ``timeout`` seconds; return the workers that stand at a boundary."""
        children = [child for child in self.children if child.generation >= 0 and child.running]
        self.engine.wait(children, timeout)
        at_boundary = []
        for child in children:
            for message in child.receive():
                child.failures = (
                    0 if isinstance(message, (EpisodeDone, UpdatesDone, Result)) else child.failures
                )
                if isinstance(message, Boundary):
                    self.member_states[self.members.index(child)] = message.state
                    child.ended = message.final
                    at_boundary.append(child)
                elif isinstance(message, Diverged):
                    self._end_diverged(message)
                else:
                    self._handle(child, message)
        return at_boundary

    def _end_diverged(self, report: Diverged | None) -> NoReturn:
        """The networks are lost: end the run at its last checkpoint, and say how it came about."""
        time.sleep(MORE_REPORTS)
        messages = [message for member in self.members if member.running for message in member.receive()]
        reports = [message for message in (report, *messages) if isinstance(message, Diverged)]
        nearest = origin(reports) if reports else None
        if nearest is not None:
            self.log.updates(self.control.clock(), nearest.metrics)
        self._log_row()
        raise TrainingFailed(explain(nearest, self.folder.last, self.folder.path, self.config.agent))

    def _handle(self, child: Part, message: object) -> None:
        if isinstance(message, (EpisodeDone, UpdatesDone)):
            if isinstance(message, EpisodeDone):
                self.log.episode(self.control.clock(), message.episode)
            if message.metrics:
                self.log.updates(self.control.clock(), message.metrics)
        elif isinstance(message, Result):
            self.evaluation_pending = False
            self.last_evaluation, self.evaluated = message, message.steps
            if message.is_best:
                self.best_score = message.score
            self.log.evaluation(message.steps, message.evaluation)
            self.progress.evaluation(message.steps, message.evaluation)
            target, rate = self.config.train.success_target, message.evaluation.success_rate
            if (
                target is not None
                and rate is not None
                and rate >= target
                and len(message.evaluation.returns) >= TARGET_EPISODES
            ):
                self.target_reached = True
        elif isinstance(message, NotFinite):
            self.evaluation_pending = False
            self.progress.note(f"no evaluation at {message.steps:,}: the policy holds NaN or infinite values")
        elif isinstance(message, NotWritten):
            raise message.error
        elif isinstance(message, NotCompiled) and message.obstacle not in self.printed_failures:
            self.printed_failures.add(message.obstacle)
            self.progress.note(f"the update stays uncompiled, which is slower: {message.obstacle}")
        elif isinstance(message, Failure):
            child.last_words = message.text.strip().splitlines()[-1]
            if message.text not in self.printed_failures:
                self.printed_failures.add(message.text)
                self.progress.note(f"{child.name} failed:\n{message.text}")

    def _restart_dead(self) -> None:
        """Kill what hangs. Bury and, after a pause that grows, start again what died; give up on what never
        works.
        """
        self.guard.look()
        now = time.monotonic()
        if (reason := self.engine.broken()) is not None and not self._told_to_stop():
            raise TrainingFailed(reason)
        for child in self.children:
            if child.generation < 0 or child.ended:
                continue
            if child.running and not child.process.is_alive():
                self._receive(0)  # its last words
                if not child.restarts:
                    child.ended = True
                    self.control.announce_compiled()
                    if child.process.exitcode != 0:
                        self.progress.note(f"{child.describe_death()}: the update stays uncompiled")
                if child.ended:
                    continue
                child.bury(now)
                self.evaluation_pending = self.evaluation_pending and child is not self.evaluator
                if child.failures >= child.MAX_FAILURES:
                    self._give_up(child)
                self.progress.note(
                    f"{child.describe_death()}{'' if self.control.stopped() else '; restarting it'}"
                )
            elif child.restart_at is not None and now >= child.restart_at and not self.control.stopped():
                child.start()

    def _told_to_stop(self) -> bool:
        """Whether this process has been too: a signal to the whole group, as batch systems send it, has
        reached the manager first.
        """
        time.sleep(MORE_REPORTS)
        return self.signals.received is not None

    def _give_up(self, child: Part) -> None:
        self._checkpoint(self._stop_members)
        reason = f"; the last time: {child.last_words}" if child.last_words else ""
        raise TrainingFailed(
            f"{child.describe_death()} {child.failures} times in a row; saved to {self.folder.last}{reason}"
        )

    # Boundaries and checkpoints

    def _pause_members(self) -> None:
        self.control.pause()
        self._await_boundary()

    def _stop_members(self) -> None:
        self.control.stop()
        self._await_boundary()

    def _await_boundary(self) -> None:
        """Until every living worker has sent its state; one that does not in time starts anew if the run is
        resumed.
        """
        self.member_states = [
            state if member.ended else {}
            for member, state in zip(self.members, self.member_states, strict=True)
        ]
        waiting = [member for member in self.members if member.generation >= 0 and member.running]
        deadline = time.monotonic() + PATIENCE
        while waiting and time.monotonic() < deadline:
            arrived = self._receive(0.01)
            waiting = [member for member in waiting if member not in arrived and member.process.is_alive()]

    def _checkpoint(self, reach_boundary: Callable[[], None]) -> None:
        """Copy the state while the workers stand still, let them go on, then write it."""
        reach_boundary()
        state = self.engine.gather()
        segment = self.replay_files.copy_new(self.engine.replay)
        run: dict[str, Any] = {
            "counters": [self.control.total(column) for column in (STEPS, UPDATES, EPISODES, OFFLINE)],
            "workers": list(self.member_states),
            "next_generation": list(self.next_generation),
            "best_score": self.best_score,
            "evaluated": self.evaluated,
        }
        self.control.resume()
        run["log"] = self.log.state()  # knows only what this process has received: nothing comes in meanwhile
        if not all_finite(state):
            self._end_diverged(None)
        run["replay"] = self.replay_files.write(segment)
        info = {"steps": run["counters"][0], "offline_updates": run["counters"][3]}
        agent = self.agent
        checkpoint.write(
            self.folder.last,
            Checkpoint(state, agent.observation_size, agent.action_size, self.config, info, run),
        )
        self.replay_files.prune()

    # Showing and evaluating

    def _request_evaluation(self, episodes: int) -> None:
        with contextlib.suppress(
            OSError
        ):  # the evaluator died just now: it is restarted and asked again later
            self.engine.ask(self.evaluator, Request(self.control.clock(), episodes))
            self.evaluation_pending = True

    def _log_row(self) -> None:
        counters: dict[str, float] = {"updates": self.control.total(UPDATES)}
        for name, vector in (
            ("policy", self.agent.policy_parameters),
            ("critic", self.agent.critic_parameters),
        ):
            counters[f"{name}_weight_norm"] = float(vector.norm())
        if self.config.data.files:
            counters["offline_updates"] = self.control.total(OFFLINE)
        self.log.flush(self.control.clock(), counters)

    def _show_progress(self) -> None:
        totals = (self.control.clock(), self.control.total(UPDATES), self.control.total(EPISODES))
        self.progress.update(*totals, self.log.wall_time_s, self.log.recent_return, self.log.recent_success)


def after(clock: int, interval: int) -> int:
    """The next multiple of ``interval`` above ``clock``; 0: there is no interval."""
    return (clock // interval + 1) * interval if interval else 0
