"""Acting at a fixed rate on something that can break: limits of the command, and a watchdog that stops it."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.runner.policy import Policy
from sac_dist.settings.option import ConfigError

Array = npt.NDArray[Any]
LOG = logging.getLogger("sac_dist.runner")
PATIENCE = 2.0  # control periods that may pass from one command to the next
LONGEST = 3600.0  # s of a period and of patience
LEAST = 1e-9  # of a limit of speed or acceleration


class Stopped(RuntimeError):
    """The robot was sent its stop action; the message says why, in one line."""


@dataclass(frozen=True)
class Limits:
    """Of the command, in the action's own units; a number for all of its entries, or one for each.

    ``low`` and ``high`` narrow the action's range. ``speed`` is how much the command may change in a second,
    and ``acceleration`` how much that may: of a command that is a position they are the joint's own, of one
    that is a velocity the acceleration and its change. A command brakes in time for where it goes, so that
    all four hold at every step. None: as the policy says.
    """

    low: npt.ArrayLike | None = None
    high: npt.ArrayLike | None = None
    speed: npt.ArrayLike | None = None
    acceleration: npt.ArrayLike | None = None


class Limiter:
    """Follows the policy's actions within ``limits``; begins at ``start``, at rest."""

    def __init__(self, limits: Limits, low: Array, high: Array, start: Array, period: float) -> None:
        self.low = low if limits.low is None else np.maximum(low, numbers("low", limits.low, low.shape))
        self.high = high if limits.high is None else np.minimum(high, numbers("high", limits.high, low.shape))
        if not (self.low <= self.high).all():
            raise ConfigError("the limits leave no command: low is above high")
        self.step, self.change = (
            None if limit is None else checked(name, limit, low.shape) * period**power
            for name, limit, power in (("speed", limits.speed, 1), ("acceleration", limits.acceleration, 2))
        )
        self.rest_at(start)

    def rest_at(self, command: Array) -> None:
        self.command = command.astype(np.float64)
        self.moving = np.zeros(command.shape)  # from one command to the next

    def __call__(self, action: Array) -> Array:
        target = np.clip(action.astype(np.float64), self.low, self.high)
        wanted = target - self.command
        if self.change is not None:
            wanted = np.sign(wanted) * np.minimum(np.abs(wanted), braking(np.abs(wanted), self.change))
        if self.step is not None:
            wanted = np.clip(wanted, -self.step, self.step)
        if self.change is not None:
            wanted = np.clip(wanted, self.moving - self.change, self.moving + self.change)
        self.moving, self.command = wanted, self.command + wanted
        return self.command.astype(action.dtype)


def checked(name: str, limit: npt.ArrayLike, shape: tuple[int, ...]) -> Array:
    values = numbers(name, limit, shape)
    if not ((values >= LEAST) & (values <= 1 / LEAST)).all():
        raise ConfigError(f"the limit {name} is {limit!r}: it has to lie in {LEAST:g} … {1 / LEAST:g}")
    return values


def numbers(name: str, limit: npt.ArrayLike, shape: tuple[int, ...]) -> Array:
    try:
        values = np.asarray(limit, np.float64)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if np.isnan(values).any() or values.shape not in ((), shape):
        raise ConfigError(f"the limit {name} is {limit!r}: it has to be a number for all or one for each")
    return values


def braking(distance: Array, change: Array) -> Array:
    """The longest step from which, shortened by ``change`` at a time, one comes to rest within ``distance``.

    With n + f changes in the step, f < 1, it is (n + 1)(n / 2 + f) changes to rest.
    """
    d = distance / change
    n = np.floor((np.sqrt(1 + 8 * d) - 1) / 2)
    longest: Array = (n / 2 + d / (n + 1)) * change
    return longest


class Loop:
    """Reads, acts and sends every ``period`` seconds, until it is told or something goes wrong.

    Args:
        observe: the newest observation, as the environment gives it.
        send: takes the robot's command: an action. It is called by the watchdog's thread too, one call at a
            time.
        period: s; None: that of the policy's file.
        stop: the action that makes the robot stand still; None: that of the policy's file. It is sent at
            once, whatever the limits, but within the action's range.
        start: the command that the robot obeys at the beginning, from which ``limits`` begin; None: ``stop``.
        patience: s from one command to the next before the watchdog sends the stop action; None: two periods.

    Raises ConfigError where neither the file nor the caller says period or stop.
    """

    def __init__(
        self,
        policy: Policy,
        observe: Callable[[], Any],
        send: Callable[[Array], None],
        *,
        limits: Limits | None = None,
        period: float | None = None,
        stop: npt.ArrayLike | None = None,
        start: npt.ArrayLike | None = None,
        patience: float | None = None,
    ) -> None:
        card, action = policy.card, policy.card.action
        self.policy, self.observe, self.send = policy, observe, send
        found = card.control_period if period is None else period
        if found is None:
            raise ConfigError("the policy's file has no control period: give period=…")
        if not 0 < found <= LONGEST:
            raise ConfigError(f"the period is {found} s: it has to lie above 0 and within {LONGEST:g}")
        self.period = found
        self.patience = PATIENCE * found if patience is None else patience
        if not self.period <= self.patience <= LONGEST:
            raise ConfigError(
                f"patience is {self.patience} s: it has to lie between the period, {self.period} s, and "
                f"{LONGEST:g} s"
            )
        self.stop_action = self._command("stop", action.stop if stop is None else stop)
        self._held = action.held if stop is None else ()
        self._last = self.stop_action if start is None else self._command("start", start)
        self._limiter = (
            None if limits is None else Limiter(limits, action.low, action.high, self._last, self.period)
        )
        self._lock = threading.Condition()  # over what follows, and over sending
        self._why: str | None = None  # the stop action was sent for this reason
        self._deadline: float | None = None

    def _command(self, name: str, values: npt.ArrayLike | None) -> Array:
        action = self.policy.card.action
        if values is None:
            raise ConfigError(
                f"the policy's file does not know what makes this robot stand still: give {name}=…"
            )
        try:
            command = np.asarray(values, action.dtype)
        except (TypeError, ValueError):
            raise ConfigError(f"{name} is {values!r}: {action.shape} numbers are needed") from None
        if command.shape != action.shape or not ((command >= action.low) & (command <= action.high)).all():
            raise ConfigError(f"{name} is no action of the robot: {action.shape} numbers in its range")
        return command

    def run(self, steps: int | None = None) -> int:
        """Act so many steps, or until :meth:`stop`; the robot is sent its stop action at the end, however it
        ends. Returns the steps.

        Raises Stopped if an observation was late, wrong or missing, or anything failed. SIGTERM, where nobody
        handles it, raises SystemExit once the robot stands still.
        """
        with ended_by_sigterm():
            return self._run(steps)

    def _run(self, steps: int | None) -> int:
        done, next_time = 0, time.monotonic()
        self.policy.begin()
        self._why, self._deadline = None, None  # the watch begins with the first command
        if self._limiter is not None:
            self._limiter.rest_at(self._last)
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        try:
            while steps is None or done < steps:
                if not self._act(self.policy(self.observe())):
                    break
                done += 1
                next_time = max(next_time + self.period, time.monotonic())
                time.sleep(max(next_time - time.monotonic(), 0.0))
        except BaseException as error:
            self.stop(described(error))
            if isinstance(error, Exception):
                raise Stopped(self._why) from error
            raise  # KeyboardInterrupt
        else:
            self.stop()
        finally:
            watch.join()
        if self._why:
            raise Stopped(self._why)
        return done

    def stop(self, why: str = "") -> None:
        """Send the stop action, unless it was sent; nothing follows it. With ``why``, run raises that."""
        with self._lock:
            if self._why is not None:
                return
            self._why = why
            self._lock.notify_all()
            action = self.stop_action.copy()
            for index in self._held:
                action.flat[index] = self._last.flat[index]
            self._last = action
            try:
                self.send(action)
            except Exception as error:
                failure = f"the stop action could not be sent: {described(error)}"
                self._why = f"{why}; {failure}" if why else failure
            except BaseException:  # a second Ctrl-C
                self.send(action)
                raise

    def _act(self, action: Array) -> bool:
        """Send it, unless the robot was stopped meanwhile."""
        with self._lock:
            if self._why is not None:
                return False
            self._last = action if self._limiter is None else self._limiter(action)
            self.send(self._last)
            self._deadline = time.monotonic() + self.patience
            self._lock.notify_all()
            return True

    def _watch(self) -> None:
        """Until the robot is stopped, by whomever."""
        with self._lock:
            while self._why is None:
                left = None if self._deadline is None else self._deadline - time.monotonic()
                if left is None or left > 0:
                    self._lock.wait(left)
                    continue
                self.stop(f"no new command within {self.patience:g} s: the observation is late")
                LOG.error("the robot was stopped: %s", self._why)  # run may never come back to say so


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM raises SystemExit in the main thread, where it would else end the process at once."""
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def described(error: BaseException) -> str:
    """One line."""
    words = " ".join(str(error).split())
    return words if isinstance(error, ConfigError) and words else f"{type(error).__name__}: {words}"
