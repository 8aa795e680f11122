"""What superpositions do beyond what test_workspace.py has: lifetimes, checks, pruning, links, nesting, kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pyi
from tests.engine.helpers import make


def fill(superposition: pyi.Superposition, tag: str = "") -> list[pyi.Checkpoint]:
    """Give each candidate a content and a checkpoint of its own."""
    made = []
    for number, candidate in enumerate(superposition.candidates):
        candidate.write("answer", f"{tag}{number}")
        made.append(candidate.checkpoint(f"answer {number}"))
    return made


def test_a_candidate_decays_unless_it_is_renewed(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    sp = make(repo, 3, "try", named, ttl=3600)
    fill(sp)
    assert all(deadline and deadline > time.time() + 3000 for deadline in sp.deadlines)
    sp.renew(0, ttl=0)
    sp.renew(2)
    assert (sp.living, sp.fates) == ([1, 2], ["decayed", "living", "living"])
    assert sp.weights == [0, 1, 1]
    assert sp.observe() == 1
    for call in (lambda: sp.collapse(0), lambda: sp.weigh(0, 1), lambda: sp.renew(0)):
        with pytest.raises(pyi.NotFound, match="decayed"):
            call()
    sp.renew()
    assert sp.collapse(1).id == repo.branches()["main"]


def test_the_name_of_a_decayed_candidate_is_free(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    sp = repo.superpose("main", 3, name="try", ttl=3600)
    fill(sp)
    sp.renew(1, ttl=0)
    ours = ws.fork("try/1")
    ours.write("mine", "1")
    ours.checkpoint()
    sp.collapse(0)
    assert repo.workspaces() == ["try/1"]
    assert bytes(repo.open_workspace("try/1").read("mine")) == b"1"


def test_gc_drops_what_decayed(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    sp = repo.superpose("main", 2, name="try", ttl=3600)
    sp.renew(0, ttl=0)
    repo.superpose("main", 2, name="over", ttl=0)
    repo.gc()
    assert repo.workspaces() == ["try/1"]
    assert repo.superposition("try").fates == ["decayed", "living"]


def test_renewing_needs_a_time_to_live(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    sp = make(repo, 2, "try", named)
    with pytest.raises(pyi.InvalidArgument, match="ttl"):
        sp.renew(0)
    sp.renew(0, ttl=60)
    assert sp.deadlines[1] is None


def test_a_candidate_that_fails_is_never_chosen(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    sp = make(repo, 4, "try", named, weights=[4, 3, 2, 1])
    fill(sp)
    seen = []

    def passes(candidate: pyi.Workspace) -> bool:
        seen.append(bytes(candidate.read("answer")))
        candidate.write("answer", "spoiled")
        return seen[-1] in (b"2", b"3")

    assert sp.observe(verify=passes) == 2
    assert seen == [b"0", b"1", b"2"]
    assert sp.fates == ["failed", "failed", "living", "living"]
    with pytest.raises(pyi.Conflict, match="failed"):
        sp.collapse(0)
    with pytest.raises(ZeroDivisionError):
        sp.collapse(2, verify=lambda _: 1 / 0)
    assert sp.living == [2, 3]
    with pytest.raises(pyi.Conflict, match="failed its check"):
        sp.collapse(2, verify=lambda _: False)
    outcome = sp.collapse(3, verify=lambda candidate: bytes(candidate.read("answer")) == b"3")
    assert bytes(outcome.read("answer")) == b"3"


def test_nobody_is_left_to_choose(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    sp = make(repo, 2, "try", named)
    with pytest.raises(pyi.Conflict, match="no candidate is left"):
        sp.observe(verify=lambda _: False)
    better = ws.fork("better" if named else None)
    assert sp.add(better) == 2
    assert sp.observe() == 2


def test_what_is_checked_is_what_is_chosen(repo: pyi.Repository, ws: pyi.Workspace, tmp_path: Path) -> None:
    sp = repo.superpose("main", 2, name="try")
    fill(sp)

    def meddles(_: pyi.Workspace) -> bool:
        with pyi.open(tmp_path / "store") as other:
            candidate = other.open_workspace("try/0")
            candidate.write("answer", "changed")
            candidate.checkpoint()
        return True

    with pytest.raises(pyi.Conflict, match="while it was checked"):
        sp.collapse(0, verify=meddles)
    # Without a check the newest checkpoint is what counts.
    assert bytes(sp.collapse(0).read("answer")) == b"changed"


def test_a_check_may_use_the_superposition(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    sp = make(repo, 2, "try", named)

    def weighs(candidate: pyi.Workspace) -> bool:
        sp.weigh(1, 5)
        thread = threading.Thread(target=lambda: sp.weigh(0, 2))
        thread.start()
        thread.join(10)
        return not thread.is_alive()

    sp.collapse(0, verify=weighs)


def test_pruning_keeps_the_heaviest(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    sp = make(repo, 5, "try", named, weights=[1, 5, 2, 5, 0])
    fill(sp)
    sp.reject(3)
    assert sp.prune(keep=2) == [0, 3, 4]
    assert sp.fates == ["pruned", "living", "living", "pruned", "pruned"]
    assert sp.prune(keep=2) == []
    if named:
        assert repo.workspaces() == ["try/1", "try/2"]
        assert repo.superposition("try").living == [1, 2]
    with pytest.raises(pyi.Conflict, match="pruned"):
        sp.collapse(0)
    with pytest.raises(pyi.InvalidArgument):
        sp.prune(keep=0)
    with pytest.raises(pyi.InvalidArgument):
        sp.prune()
    assert bytes(sp.collapse(1).read("answer")) == b"1"


def test_pruning_under_a_budget_of_bytes(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    sp = make(repo, 4, "try", named, weights=[4, 3, 2, 1])
    for size, candidate in zip((1000, 500, 2000, 10), sp.candidates, strict=True):
        candidate.write("answer", b"x" * size)
    assert sp.prune(budget_bytes=1600) == [2, 3]
    assert sp.prune(budget_bytes=0) == [1]
    assert sp.living == [0]


def test_a_workspace_is_a_candidate_once(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    sp, other = make(repo, 1, "one", named), make(repo, 1, "two", named)
    extra = ws.fork("extra" if named else None)
    assert sp.add(extra) == 1
    with pytest.raises(pyi.Conflict, match="already"):
        sp.add(extra)
    if named:
        with pytest.raises(pyi.Conflict, match="already"):
            other.add(extra)


def test_a_candidate_that_is_dropped_by_its_name_is_out(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    sp = repo.superpose("main", 2, name="try")
    repo.drop("try/0")
    assert sp.fates == ["dropped", "living"]
    with pytest.raises(pyi.Conflict, match="dropped"):
        sp.collapse(0)
    assert repo.superposition("try").living == [1]


@pytest.mark.parametrize("count", [10, 200])
def test_a_large_superposition_is_like_a_small_one(repo: pyi.Repository, ws: pyi.Workspace, count: int) -> None:
    sp = repo.superpose("main", count, name="many")
    other = repo.superposition("many")
    for number in range(0, count, 7):
        (sp if number % 2 else other).weigh(number, number)
    expected = [number if number % 7 == 0 else 1 for number in range(count)]
    assert sp.weights == other.weights == repo.superposition("many").weights == expected
    last = sp.add(ws.fork("extra"), 1000)
    assert last == count == other.observe()
    gone = other.prune(keep=3)
    assert len(gone) == count - 2
    assert len(repo.workspaces()) == 3
    repo.undo()
    assert len(repo.workspaces()) == count + 1
    again = repo.superposition("many")
    assert again.weights == [*expected, 1000]
    result = again.collapse(last)
    assert repo.branches()["main"] == result.id
    assert repo.workspaces() == []
    repo.undo()
    assert repo.superposition("many").weights == [*expected, 1000]
    repo.drop("many")
    assert repo.workspaces() == []


def test_entangled_superpositions_collapse_together(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    one, two = make(repo, 2, "one", named), make(repo, 3, "two", named)
    ones, twos = fill(one, "a"), fill(two, "b")
    one.entangle(two, {0: 2, 1: 0}, onto="two")
    assert one.entangled == (["two"] if named else [])
    assert two.observe() == 0
    with pytest.raises(pyi.Conflict, match="goes with none"):
        two.collapse(1, onto="x")
    result = one.collapse(0, onto="one")
    assert result.id == ones[0].id
    assert repo.branches() | {"main": ""} == {"main": "", "one": ones[0].id, "two": twos[2].id}
    assert two.wait(0) == twos[2]
    assert one.candidates == two.candidates == repo.workspaces() == []
    with pytest.raises(pyi.Conflict):
        two.collapse(0)


def test_entangled_superpositions_collapse_not_at_all(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    one, two = make(repo, 2, "one", named), make(repo, 2, "two", named)
    fill(one, "a")
    fill(two, "b")
    two.entangle(one, onto="main")
    one.entangle(two, onto="side")
    with pytest.raises(pyi.Conflict, match="both move"):
        one.collapse(0, onto="side")
    elsewhere = ws.fork()
    elsewhere.write("x", "1")
    elsewhere.checkpoint()
    elsewhere.publish("side", expect=None)
    with pytest.raises(pyi.Conflict, match="side"):
        one.collapse(0, onto="main")
    assert repo.branches()["main"] == ws.head.id
    assert one.living == two.living == [0, 1]
    two.reject(0)
    assert one.observe() == 1
    with pytest.raises(pyi.Conflict, match="failed"):
        one.collapse(0, onto="new")
    one.entangle(two, onto="third")
    one.collapse(1, onto="new")
    assert set(repo.branches()) == {"main", "side", "new", "third"}


def test_mappings_that_contradict_are_refused(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    a, b, c = (make(repo, 2, name, named) for name in "abc")
    for wrong in ({0: 0, 1: 0}, {0: 5}, {7: 0}, {}, [0, 0]):
        with pytest.raises(pyi.InvalidArgument):
            a.entangle(b, wrong)
    with pytest.raises(pyi.InvalidArgument, match="itself"):
        a.entangle(a)
    with pytest.raises(pyi.InvalidArgument, match="mapping"):
        a.entangle(make(repo, 3, "d", named))
    with pytest.raises(pyi.InvalidArgument, match="name"):
        a.entangle(make(repo, 2, "e", not named))
    a.entangle(b, [1, 0])
    b.entangle(c, [1, 0])
    with pytest.raises(pyi.Conflict, match="otherwise"):
        c.entangle(a, [1, 0])
    with pytest.raises(pyi.Conflict, match="otherwise"):
        a.entangle(b, [0, 1])
    c.entangle(a, [0, 1])  # what follows from the others
    b.entangle(a, {0: 1})
    a.collapse(0, onto="one")
    assert [sp.candidates for sp in (a, b, c)] == [[], [], []]
    assert b.wait(0)
    assert c.wait(0)


def test_a_mapping_can_grow(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    a, b = make(repo, 2, "a", named), make(repo, 2, "b", named)
    a.entangle(b, {0: 1})
    with pytest.raises(pyi.Conflict):
        a.collapse(1)
    with pytest.raises(pyi.Conflict, match="otherwise"):
        a.entangle(b, {1: 1})
    a.entangle(b, {1: 0})
    a.collapse(1)
    assert b.candidates == []


def test_an_entangled_outcome_without_a_branch_is_kept(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    one, two = repo.superpose("main", 2, name="one"), repo.superpose("main", 2, name="two")
    fill(one, "a")
    twos = fill(two, "b")
    one.entangle(two)
    one.collapse(1)
    repo.retention(age=0, heads=0)
    repo.gc(budget_bytes=1 << 30)
    assert two.wait(0) == twos[1]
    assert bytes(repo.get_checkpoint(twos[1].id).read("answer")) == b"b1"


def test_dropping_one_frees_its_partner(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    one, two = repo.superpose("main", 2, name="one"), repo.superpose("main", 2, name="two")
    one.entangle(two)
    repo.drop("two")
    assert one.entangled == []
    with pytest.raises(pyi.NotFound, match="dropped"):
        two.observe()
    one.collapse(0)


def test_the_winner_must_not_be_in_superposition_itself(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    outer = make(repo, 2, "outer", named)
    fill(outer)
    inner = make(repo, 2, "inner", named, base=outer.candidates[1])
    assert inner.outer == ("outer" if named else None, 1)
    fill(inner, "inner ")
    with pytest.raises(pyi.Conflict, match="in superposition itself"):
        outer.collapse(1)
    inner.collapse(0, onto=outer.candidates[1])
    assert not outer.candidates[1].dirty
    result = outer.collapse(1)
    assert bytes(result.read("answer")) == b"inner 0"
    assert repo.branches()["main"] == result.id
    assert repo.workspaces() == []


def test_what_was_forked_from_a_loser_goes_along(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    outer = make(repo, 2, "outer", named)
    fill(outer)
    inner = make(repo, 2, "inner", named, base=outer.candidates[1])
    below = make(repo, 2, "below", named, base=inner.candidates[0])
    partner = make(repo, 2, "partner", named)
    below.entangle(partner)
    with pytest.raises(pyi.Conflict, match="entangled"):
        outer.collapse(0)
    with pytest.raises(pyi.Conflict, match="forked from a candidate"):
        outer.entangle(below)
    partner.collapse(0, onto="elsewhere")
    outer.collapse(0)
    assert repo.superpositions() == repo.workspaces() == []
    assert below.wait(0)
    for call in (lambda: inner.collapse(0), lambda: inner.wait(1)):
        with pytest.raises(pyi.NotFound, match="let go"):
            call()


def test_a_workspace_that_moved_on_takes_no_outcome(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    outer = make(repo, 2, "outer", named)
    fill(outer)
    target = outer.candidates[0]
    inner = make(repo, 2, "inner", named, base=target)
    target.write("more", "1")
    with pytest.raises(pyi.Conflict, match="changed since"):
        inner.collapse(0, onto=target)
    target.checkpoint()
    with pytest.raises(pyi.Conflict, match="changed since"):
        inner.collapse(0, onto=target)
    inner.collapse(0, onto="side")
    outer.collapse(0)


def test_an_outcome_does_not_go_to_what_is_let_go(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    sp = make(repo, 3, "try", named)
    sp.candidates[0].write("answer", "1")
    with pytest.raises(pyi.InvalidArgument, match="lets go"):
        sp.collapse(0, onto=sp.candidates[1])
    assert sp.living == [0, 1, 2]
    target = ws.fork("target" if named else None)
    sp.collapse(0, onto=target)
    assert bytes(target.read("answer")) == b"1"
    assert not target.dirty


def test_a_number_that_an_undo_freed(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    sp, other = repo.superpose("main", 1, name="try"), repo.superposition("try")
    first, second = ws.fork("first"), ws.fork("second")
    second.write("answer", "second")
    second.checkpoint()
    assert sp.add(first) == 1
    assert other.candidates[1].name == "first"
    repo.undo()
    assert other.add(second) == 1
    assert [candidate.name for candidate in sp.candidates] == ["try/0", "second"]
    assert bytes(sp.collapse(1).read("answer")) == b"second"
    assert repo.workspaces() == ["first"]


def test_unnamed_ones_that_nobody_holds_are_gone(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    outer = repo.superpose(ws, 2)
    inner = repo.superpose(outer.candidates[0], 2)
    with pytest.raises(pyi.Conflict, match="in superposition"):
        outer.collapse(0)
    del inner
    one, two = repo.superpose(ws, 2), repo.superpose(ws, 2)
    one.entangle(two, onto="two")
    del two
    one.collapse(0, onto="one")
    outer.collapse(0)
    assert set(repo.branches()) == {"main", "one", "two"}


WAITER = """
import sys, time
import pyi
with pyi.open(sys.argv[1]) as repo:
    sp = repo.superposition("two")
    print("waiting", flush=True)
    print(sp.wait(60).id, flush=True)
"""


def test_waiters_of_what_is_entangled_are_told(repo: pyi.Repository, ws: pyi.Workspace, tmp_path: Path) -> None:
    one, two = repo.superpose("main", 2, name="one"), repo.superpose("main", 2, name="two")
    twos = fill(two)
    one.entangle(two)
    command = [sys.executable, "-c", WAITER, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        told: list[pyi.Checkpoint | None] = []
        handle = repo.superposition("two")
        waiter = threading.Thread(target=lambda: told.append(handle.wait(60)))
        waiter.start()
        one.collapse(1)
        waiter.join()
        assert told == [twos[1]]
        assert process.communicate(timeout=60)[0].strip() == twos[1].id


CHURN = """
import random, sys
import pyi
seed = int(sys.argv[2])
draw = random.Random(seed)
repo = pyi.open(sys.argv[1])
for number in range(10**6):
    name = f"c{seed}-{number}"
    sp = repo.superpose("main", draw.choice((3, 70)), name=name)
    other = repo.superpose("main", 3, name=name + "-other")
    sp.entangle(other, {0: 0, 1: 1, 2: 2}, onto=name + "-other")
    inner = repo.superpose(sp.candidates[1], 2, name=name + "-inner")
    for index in range(3):
        sp.weigh(index, draw.random())
        sp.candidates[index].write("answer", str(index))
        sp.candidates[index].checkpoint()
    sp.reject(0)
    sp.collapse(2, onto=name)
    print(name, flush=True)
"""


def test_kills_leave_superpositions_whole(tmp_path: Path) -> None:
    """What was under way when a process was killed is wholly there or wholly absent, and others go on with it."""
    store = tmp_path / "store"
    with pyi.open(store) as repo:
        ws = repo.workspace()
        ws.write("a", "1")
        ws.checkpoint()
        ws.publish("main")
    for seed in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", CHURN, str(store), str(seed)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.01 * seed)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        with pyi.open(store) as repo:
            candidates: list[str] = []
            for name in repo.superpositions():
                sp = repo.superposition(name)
                assert sp.fates.count("living") >= len(sp.candidates) - 1
                for other in sp.entangled:
                    assert name in repo.superposition(other).entangled
                if sp.outer:
                    assert sp.outer[0] in repo.superpositions()
                candidates += [workspace.name or "" for workspace in sp.candidates]
            assert sorted(candidates) == repo.workspaces()
            # Decided together: both have their branch, or neither has.
            branches = set(repo.branches())
            assert {name for name in branches if name + "-other" in branches} == {
                name for name in branches if name != "main" and not name.endswith("-other")
            }
            for name in repo.superpositions():
                if name in repo.superpositions():
                    repo.drop(name)
            assert repo.superpositions() == repo.workspaces() == []
