"""What superpositions refuse: bases of another store, checks that say nothing, numbers and names out of range."""

from __future__ import annotations

from pathlib import Path

import pytest

import pyi
from tests.engine.helpers import make


def test_a_base_of_another_store_is_refused(
    repo: pyi.Repository, ws: pyi.Workspace, named: bool, tmp_path: Path
) -> None:
    """The candidates were forks in the other store, and a collapse moved a branch of this one to a checkpoint that it
    does not have: from then on the store was Corrupt."""
    with pyi.open(tmp_path / "elsewhere") as other:
        theirs = other.workspace()
        theirs.write("theirs", "x")
        theirs.checkpoint()
        with pytest.raises(pyi.InvalidArgument, match="another repository"):
            make(repo, 2, "try", named, base=theirs)
        with pytest.raises(pyi.NotFound):
            repo.superpose(theirs.head, 2)
    assert repo.superpositions() == []
    assert repo.workspaces() == []
    assert repo.scrub().damaged == []


def test_a_base_that_was_opened_through_another_object(
    repo: pyi.Repository, ws: pyi.Workspace, named: bool, tmp_path: Path
) -> None:
    with pyi.open(repo.path) as same:
        base = same.workspace()
        sp = make(repo, 2, "try", named, base=base)
        assert sp.add(repo.workspace().fork("third")) == 2  # all of them are of this object
        sp.candidates[1].write("chosen", "x")
        assert repo.workspace(at=sp.collapse(1)).exists("chosen")
        base.write("more", "x")
        with pytest.raises(pyi.InvalidArgument, match="checkpoint"):
            make(repo, 2, "again", named, base=base)


def test_a_check_that_is_async_is_refused(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    """A coroutine is true: every candidate passed a check that had not been run."""

    async def check(_: pyi.Workspace) -> bool:
        return False

    sp = make(repo, 2, "try", named)
    for call in (lambda: sp.observe(verify=check), lambda: sp.collapse(0, verify=check)):  # type: ignore[arg-type]
        with pytest.raises(pyi.InvalidArgument, match="async"):
            call()
    assert sp.fates == ["living", "living"]


@pytest.mark.parametrize("count", [-1, 0, 1_000_001, 2**40, 2**63, 2**70])
def test_counts_that_make_no_sense(repo: pyi.Repository, ws: pyi.Workspace, named: bool, count: int) -> None:
    """A huge one took all memory, or was a panic of the allocator; a negative one was an OverflowError."""
    with pytest.raises(pyi.InvalidArgument):
        make(repo, count, "try", named)
    assert repo.superpositions() == []


def test_numbers_that_make_no_sense(repo: pyi.Repository, ws: pyi.Workspace, named: bool) -> None:
    """They were an OverflowError, which is no PyiError, or a panic."""
    sp, other = make(repo, 2, "try", named, ttl=3600), make(repo, 2, "other", named)
    for number in (-1, 2**64):
        for call in (
            lambda number=number: sp.observe(seed=number),
            lambda number=number: sp.weigh(number, 1),
            lambda number=number: sp.reject(number),
            lambda number=number: sp.renew(number),
            lambda number=number: sp.collapse(number),
            lambda number=number: sp.prune(keep=number),
            lambda number=number: sp.prune(budget_bytes=number),
            lambda number=number: sp.entangle(other, {number: 0}),
            lambda number=number: sp.entangle(other, [number]),
        ):
            with pytest.raises(pyi.InvalidArgument):
                call()
    for call in (
        lambda: sp.weigh(0, 10**400),
        lambda: sp.renew(ttl=10**400),
        lambda: sp.wait(10**400),
        lambda: repo.superpose("main", 1, weights=[10**400]),
    ):
        with pytest.raises(pyi.InvalidArgument):
            call()
    assert sp.fates == ["living", "living"]
    assert sp.entangled == []
    sp.collapse(0, onto="decided")
    assert sp.wait(1.8e19) is not None  # more seconds than the clock can count


def test_names_that_are_no_text(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    """A lone surrogate was a UnicodeEncodeError."""
    bad = "\udcff"
    for call in (
        lambda: repo.superpose("main", 1, name=bad),
        lambda: repo.superpose(bad, 1),
        lambda: repo.superposition(bad),
        lambda: repo.superpose("main", 1).collapse(0, onto=bad),
        lambda: repo.superpose("main", 1).entangle(repo.superpose("main", 1), onto=bad),
        lambda: repo.open_workspace(bad),
        lambda: repo.view_workspace(bad),
        lambda: repo.workspace(bad),
        lambda: repo.workspace(at=bad),
        lambda: repo.drop(bad),
        lambda: repo.delete_branch(bad),
        lambda: repo.get_checkpoint(bad),
        lambda: ws.fork(bad),
        lambda: ws.publish(bad),
    ):
        with pytest.raises(pyi.InvalidArgument):
            call()
