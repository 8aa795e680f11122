"""`Session`: a loop that survives anything.

A session is a named workspace in which every checkpoint also says how far the loop had come and where the random
generators stood. Whoever opens it again goes back to the last checkpoint and on from there.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from time import perf_counter
from types import TracebackType
from typing import Self, TypeVar

from pyi._native import Checkpoint, Journal, Repository, SessionCore, Workspace
from pyi.errors import Closed, InvalidArgument, PyiError
from pyi.longrun.generators import RESERVED
from pyi.longrun.keepers import Keepers
from pyi.longrun.policy import Policy, check_name, is_count
from pyi.longrun.presence import Presence
from pyi.longrun.record import LOOPING, NEW, Record, Trail, begin, step_at
from pyi.longrun.report import SessionReport
from pyi.longrun.stops import Stops
from pyi.state import State

__all__ = ["Session"]

_T = TypeVar("_T")


class Session:
    """A loop with a memory; made by `session` and `Session.fork_at`. A context manager. For one thread at a time.

    Attributes:
        name: Its name, which is that of its workspace; None for an unnamed fork.
        workspace: The workspace. What is changed in it belongs to the step in flight.
        state: The workspace's state, without what the session keeps there.
        journal: The workspace's journal.
    """

    name: str | None
    workspace: Workspace
    state: State
    journal: Journal

    def __init__(
        self,
        repository: Repository,
        workspace: Workspace,
        last: Checkpoint,
        record: Record,
        presence: Presence | None,
        policy: Policy,
        *,
        generators: Mapping[str, object] | None,
        global_generators: bool,
        stop_signals: Sequence[int],
        durability: str | None,
        owns_repository: bool = False,
    ) -> None:
        """Go on from `last`, which the workspace stands at or after; called by `session` and `fork_at`."""
        self.name = workspace.name
        self.workspace = workspace
        self.state = State(workspace.state._core.hiding(RESERVED, "the session"))
        self.journal = workspace.journal
        self._repository = repository
        self._owns_repository = owns_repository
        self._all_state = workspace.state
        self._last = last
        self._record = record
        self._presence = presence
        self._policy = policy
        self._stop_signals = tuple(stop_signals)
        self._durability = durability
        self._keepers = Keepers(with_global=global_generators)
        trail = Trail.behind(repository, last, record)
        self._core = SessionCore(workspace, (workspace.name or "").encode(), trail.chain)
        self._done, self._loop, self._at = record.done, record.loop, record.at
        self._resumes, self._repeated = record.resumes, record.repeated
        # What this run called so far: loops, and saves since the last of them.
        self._calls = self._saves = 0
        self._phase = record.phase
        # Whether this run has not got to where the record is yet.
        self._behind = self._resumed = self._uncounted = record.phase != NEW
        self._in_loop = self._in_step = self._ending = self._stopped = self._closed = False
        # Whether a loop was left before its end: its last step, or the loop itself, is not done.
        self._left = False
        self._unsaved = 0
        self._steps = self._checkpoints = 0
        self._seconds = self._checkpoint_s = 0.0
        self._entered: float | None = None
        self._iterator: weakref.ref[Generator[object]] | None = None
        if generators is not None and not isinstance(generators, Mapping):
            raise TypeError(f"generators: a mapping of names to generators, not {type(generators).__name__}")
        for name, source in (generators or {}).items():
            self.register(name, source)

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def done(self) -> int:
        """Steps done so far, in all loops and runs; the step in flight is not one of them."""
        return self._done

    @property
    def resumed(self) -> bool:
        """Whether it goes on from a checkpoint of an earlier run (or of the session that it was forked from)."""
        return self._resumed

    @property
    def stopped(self) -> bool:
        """Whether a signal ended a loop early, and its handler let the program go on. There are no more steps then."""
        return self._stopped

    @property
    def report(self) -> SessionReport:
        """What was done and what it cost, as of now."""
        running = 0.0 if self._entered is None else perf_counter() - self._entered
        return SessionReport(
            name=self.name,
            done=self._done,
            resumes=self._resumes,
            repeated=self._repeated,
            steps=self._steps,
            checkpoints=self._checkpoints,
            seconds=self._seconds + running,
            checkpoint_seconds=self._checkpoint_s,
        )

    def __repr__(self) -> str:
        """Name it and say how far it is."""
        name = "unnamed" if self.name is None else repr(self.name)
        return f"<Session {name}, {self._done} steps done{', closed' if self._closed else ''}>"

    # --- running ------------------------------------------------------------------------------------------------------

    def register(self, name: str, source: _T) -> _T:
        """Make a random generator part of the checkpoints; it goes to where it was when a loop begins. Returns it.

        Args:
            name: What it is called; the same in every run.
            source: A `random.Random`; NumPy's `Generator`, `BitGenerator`, `RandomState`; or an object with
                `getstate()` and `setstate()`.

        Raises:
            InvalidArgument: The name is taken, the generator cannot be kept, or a loop is running.
        """
        self._check_open()
        if self._in_loop:
            raise InvalidArgument(f"generator {name!r}: register it before the loop begins")
        self._keepers.add(name, source)
        return source

    def steps(self, iterable: Iterable[_T]) -> Iterator[_T]:
        """Loop over an iterable, from where the last checkpoint left it, with everything as it was then.

        What was changed in the workspace before this call counts in the session's first run; when it is resumed, that
        is dropped: state, files, journal and generators are those of the checkpoint. A session may have several loops,
        one after the other; they are told apart by their order. One that was finished in an earlier run gives nothing.

        Args:
            iterable: A range, a sequence, or anything that gives the same items in every run. What is done already is
                skipped, of a range at once, of anything else item by item.

        Raises:
            InvalidArgument: A loop is running, the one before was left before its end, or a generator is not
                registered that was in the last run.
            PyiError: What goes back to the checkpoint, or makes one, failed.
        """
        self._check_open()
        if self._in_loop:
            raise InvalidArgument("a session has one loop at a time: itertools.product makes one of two")
        if self._stopped:
            return iter(())
        if self._left:
            raise InvalidArgument(
                "the loop before was left before its end, or is still to begin: call stop() in a loop's last step, or"
                " open the session again to go on from its last checkpoint; itertools.product makes one loop of two"
            )
        self._check_generators_are_free()
        loop, self._calls, self._saves = self._calls, self._calls + 1, 0
        if not self._behind:
            self._loop, self._at = loop, 0
            source = iter(iterable)
            if self._phase == NEW:
                # The set-up is behind us from here on.
                self._phase = LOOPING
                self._save(f"begin {self.name or ''}".strip())
        elif loop <= self._loop:
            source = _from(iterable, self._at if loop == self._loop else -1)
            # After the items that are skipped: drawing them may have moved a generator.
            self._go_back()
            # If the code behind this loop was saved as well, that save or the next loop goes back once more.
            self._behind = loop < self._loop or self._phase > LOOPING
        else:
            source = iter(iterable)
            self._go_back()
            self._loop, self._at, self._behind = loop, 0, False
        if loop < self._loop:
            return iter(())
        # From here on, and not from the first step on: two loops that were made before either begins would run at once.
        self._left = True
        running = self._run(source)
        # Weak, so that a loop that is left by `break` is over at once.
        self._iterator = weakref.ref(running)
        return running

    def _run(self, source: Iterator[_T]) -> Generator[_T]:
        global _running
        self._check_generators_are_free()  # the loop of another session may have begun since this one was made
        if self._keepers.with_global:
            _running = self
        always, policy = self._policy.always, self._policy
        presence = self._presence
        self._in_loop = True
        self._ending = False
        self._unsaved = 0
        self._entered = perf_counter()
        policy.start(self._entered)
        stops = Stops(self._stop_signals)
        try:
            with stops:
                for item in source:
                    if stops.received is not None:
                        break
                    if self._uncounted:
                        self._count_resume()
                    if presence is not None:
                        presence.counts[0] = self._done + 1
                    self._in_step = True
                    yield item
                    self._in_step = False
                    self._phase = LOOPING
                    self._behind = False
                    self._done += 1
                    self._at += 1
                    self._steps += 1
                    self._unsaved += 1
                    if self._ending:
                        break
                    if always or policy.due(self._unsaved, perf_counter()):
                        self._save(f"step {self._done}")
                if self._ending:
                    self._at = -1
                if self._unsaved:
                    self._save(f"step {self._done}")
            self._left = stops.received is not None and not self._ending
        finally:
            # Also when the caller's step raised, or left the loop: then a step is in flight, and stays so.
            self._in_loop = False
            self._seconds += perf_counter() - self._entered
            self._entered = None
            if _running is self:
                _running = None
        self._stopped = self._left
        stops.act()

    def stop(self) -> None:
        """End the loop after the step in flight, which counts as done; in no later run will the loop give anything.

        Raises:
            InvalidArgument: No step is in flight.
        """
        self._check_open()
        if not (self._in_loop and self._in_step):
            raise InvalidArgument("stop() is called in a step of a loop; there is none")
        self._ending = True

    def save(self, message: str = "") -> Checkpoint:
        """Make a checkpoint between loops, of what was changed there.

        A run that comes here again goes to what was saved and makes no other one: what led to it counts once.

        Raises:
            InvalidArgument: A step is in flight. A checkpoint of half a step would make it count twice.
            PyiError: The checkpoint failed; nothing is lost.
        """
        self._check_open()
        if self._in_loop:
            raise InvalidArgument("a step is in flight, and only whole steps are kept: save() behind the loop")
        if self._stopped:
            raise InvalidArgument(
                f"a signal stopped the loop after {self._done} steps, which are kept: open the session again to go on"
            )
        if self._left:
            raise InvalidArgument(
                "the loop was left before its end, by break, return or an exception: call stop() in its last step and"
                " let it end by itself, or open the session again to go on from the last checkpoint"
            )
        self._saves += 1
        if self._behind:
            self._go_back()
            self._behind = self._calls - 1 < self._loop or self._saves < self._phase - LOOPING
            return self._last
        self._phase = LOOPING + self._saves
        return self._save(message or f"step {self._done}")

    # --- exploring ----------------------------------------------------------------------------------------------------

    def checkpoint_at(self, step: int) -> Checkpoint:
        """Return the last checkpoint at which at most `step` steps were done: what step `step` (from 0) began from.

        If each step has its checkpoint, exactly `step` steps were done then.

        Raises:
            InvalidArgument: `step` is negative, or more than the steps that are in a checkpoint.
            NotFound: Retention did not keep it.

        Cost: O(log checkpoints) reads.
        """
        return self._find(step)[0]

    def fork_at(
        self,
        step: int,
        name: str | None = None,
        *,
        every: int | None = None,
        seconds: float | None = None,
        cost: float | None = None,
        generators: Mapping[str, object] | None = None,
        global_generators: bool = True,
    ) -> Session:
        """Return a session that stands where this one stood before step number `step`, to go on from there another way.

        This session is left as it is, and may be in the middle of a loop. Give the fork the same iterable.

        Args:
            step: Steps done; see `checkpoint_at`.
            name: A name that other processes, and later runs, open it by; without one it lives in this process.
            every: As for `session`, which see for all that follow.
            seconds: The same.
            cost: The same.
            generators: Generators of its own, by the names that this session has for them.
            global_generators: The same.

        Raises:
            InvalidArgument: As `checkpoint_at`.
            NotFound: Retention did not keep it.
            Conflict: The name is taken.

        Cost: that of `checkpoint_at`, one checkpoint and one fork.
        """
        policy = Policy(every, seconds, cost)
        if name is not None:
            check_name(name)
        checkpoint, record = self._find(step)
        presence = None if name is None else Presence.acquire(self._repository.path, name)
        try:
            record = record.forked(self._repository, checkpoint, name or "")
            workspace, last = begin(self._repository.workspace(at=checkpoint), name, record)
            if presence is not None:
                presence.begin(record.done)
            fork = Session(
                self._repository,
                workspace,
                last,
                record,
                presence,
                policy,
                generators=generators,
                global_generators=global_generators,
                stop_signals=self._stop_signals,
                durability=self._durability,
            )
            fork._uncounted = False
            return fork
        except BaseException:
            if presence is not None:
                presence.close()
            raise

    def _find(self, step: int) -> tuple[Checkpoint, Record]:
        self._check_open()
        record = Record.of(self._last)
        if record is None or not is_count(step) or not 0 <= step <= record.done:
            raise InvalidArgument(f"step {step!r}: from 0 to {self._record.done if record is None else record.done}")
        return step_at(self._repository, self._last, record, step)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give it up. A step in flight is dropped; what was changed between loops gets a checkpoint. Idempotent.

        Raises:
            PyiError: That checkpoint failed; the session is closed all the same.
        """
        self._close(keep=True)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an exception, without a checkpoint of what was changed since the last one."""
        self._close(keep=kind is None)

    def _close(self, *, keep: bool) -> None:
        if self._closed:
            return
        running = None if self._iterator is None else self._iterator()
        if running is not None:
            running.close()  # whoever still holds it gets no more steps
        try:
            if keep and not (self._left or self._in_loop) and self.workspace.dirty and not self._repository.closed:
                self._save(f"step {self._done}")
            else:
                # Whoever opens it in this process gets this very workspace. If this fails, nothing gets in anyway.
                with suppress(PyiError):
                    if self.workspace.dirty:
                        self.workspace.restore(self._last)
        finally:
            self._closed = True
            if self._presence is not None:
                self._presence.close()
            if self._owns_repository:
                self._repository.close()

    def _check_generators_are_free(self) -> None:
        if self._keepers.with_global and _running is not None:
            raise InvalidArgument(
                f"the loop of {_running!r} runs in this process and draws from the same global generators: end it"
                " first, or open one of the two with global_generators=False"
            )

    def _check_open(self) -> None:
        if self._closed:
            raise Closed(f"session {self.name!r} was closed; open it again with pyi.session")

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _save(self, message: str) -> Checkpoint:
        """Make a checkpoint of everything, generators and place included. Called on every step, so it does no more."""
        begin = perf_counter()
        place = (self._phase, self._done, self._loop, self._at, self._resumes, self._repeated)
        generators = self._keepers.all()
        last = self._last = self._core.save(message, place, generators, self._all_state, self._durability)
        self._unsaved = 0
        self._checkpoints += 1
        end = perf_counter()
        self._checkpoint_s += end - begin
        if self._entered is None:
            self._seconds += end - begin
        if not self._policy.always:
            self._policy.made(end - begin, end)
        return last

    def _go_back(self) -> None:
        """Make workspace and generators those of the last checkpoint."""
        self.workspace.restore(self._last)
        self._core.distrust()
        self._keepers.load(self._record.random, self._all_state)

    def _count_resume(self) -> None:
        self._uncounted = False
        self._resumes += 1
        presence = self._presence
        if presence is not None:
            # A run that was killed before its first checkpoint counted only there.
            self._resumes = max(self._resumes, presence.counts[2] + 1)
            self._repeated = max(self._repeated, presence.counts[3]) + max(0, presence.counts[0] - self._done)
            presence.counts[2], presence.counts[3] = self._resumes, self._repeated


_running: Session | None = None
"""The session whose loop runs and uses the global generators."""


def _from(iterable: Iterable[_T], at: int) -> Iterator[_T]:
    """Return the items from number `at` on; -1: none. O(1) for a range, else O(at)."""
    if at < 0:
        return iter(())
    if isinstance(iterable, range):
        return iter(iterable[at:])  # type: ignore[arg-type]
    items = iter(iterable)
    next(islice(items, at, at), None)
    return items
