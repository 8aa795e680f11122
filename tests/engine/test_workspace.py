"""What each verb of a workspace promises (the lifecycle table of ARCHITECTURE.md)."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import pyi


def files(ws: pyi.Workspace | pyi.Checkpoint) -> dict[str, bytes]:
    return {entry.path: bytes(ws.read(entry.path)) for entry in ws.walk()}


def test_reading(ws: pyi.Workspace) -> None:
    assert bool(ws) is True
    assert len(ws) == 5
    assert bytes(ws.read("src/a.py")) == b"a = 1\n"
    assert bytes(ws.read(b"src/a.py", offset=2, size=3)) == b"= 1"
    assert bytes(ws.read("src/a.py", offset=99)) == b""
    assert [bytes(found) for found in ws.read_many(["README.md", "src/b.py"])] == [b"hello\n", b"b = 2\n"]
    assert ws.readlink("link") == "src/a.py"
    assert bytes(ws.read("link")) == b"src/a.py"
    assert ws.exists("src")
    assert ws.exists("empty/deep")
    assert not ws.exists("src/c.py")
    assert not ws.exists("README.md/x")
    assert [(entry.path, entry.kind) for entry in ws.list()] == [
        ("README.md", "file"),
        ("empty", "dir"),
        ("link", "symlink"),
        ("run.sh", "file"),
        ("src", "dir"),
    ]
    assert [entry.path for entry in ws.list("src")] == ["src/a.py", "src/b.py"]
    assert [entry.path for entry in ws.walk()] == ["README.md", "link", "run.sh", "src/a.py", "src/b.py"]
    entry = ws.stat("run.sh")
    assert (entry.kind, entry.mode, entry.size) == ("file", 0o755, 10)
    assert len(entry.id) == 64
    directory = ws.stat("src")
    assert (directory.kind, directory.size) == ("dir", 12)


def test_large_contents_come_without_a_copy(ws: pyi.Workspace) -> None:
    data = bytes(range(256)) * 4096
    ws.write("large", data)
    for _ in range(2):
        found = ws.read("large")
        assert isinstance(found, memoryview)
        assert found.readonly
        assert found == data
        ws.checkpoint()


@pytest.mark.parametrize("data", ["text é", b"bytes", bytearray(b"array"), memoryview(b"view")[::2], b"", ""])
def test_writing_takes_text_and_buffers(ws: pyi.Workspace, data: str | bytes) -> None:
    ws.write("new/deep/file", data)
    expected = data.encode() if isinstance(data, str) else bytes(data)
    assert bytes(ws.read("new/deep/file")) == expected
    assert bytes(ws.checkpoint().read("new/deep/file")) == expected


def test_modes_are_kept_unless_given(ws: pyi.Workspace) -> None:
    ws.write("run.sh", "changed")
    assert ws.stat("run.sh").mode == 0o755
    ws.write("run.sh", "changed", mode=0o644)
    assert ws.stat("run.sh").mode == 0o644
    assert [(change.path, change.kind) for change in ws.diff()] == [("run.sh", "modified")]
    ws.restore(ws.head)
    ws.write("run.sh", "#!/bin/sh\n", mode=0o644)
    assert [(change.path, change.kind) for change in ws.diff()] == [("run.sh", "mode")]


def test_names_that_are_not_utf8(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    ws.write(b"caf\xe9/na\xefve", b"latin-1")
    assert bytes(ws.read("caf\udce9/na\udcefve")) == b"latin-1"
    assert ws.stat(b"caf\xe9/na\xefve").path == "caf\udce9/na\udcefve"
    checkpoint = ws.checkpoint()
    assert "caf\udce9/na\udcefve" in [entry.path for entry in checkpoint.walk()]


def test_moving_and_removing(ws: pyi.Workspace) -> None:
    ws.move("src", "lib/python")
    assert [entry.path for entry in ws.walk("lib")] == ["lib/python/a.py", "lib/python/b.py"]
    assert not ws.exists("src")
    changes = ws.diff(renames=True)
    assert [(change.path, change.kind, change.old.path if change.old else None) for change in changes] == [
        ("lib/python/a.py", "moved", "src/a.py"),
        ("lib/python/b.py", "moved", "src/b.py"),
    ]
    ws.remove("lib")
    assert len(ws) == 3
    ws.restore(ws.head)
    ws.move("README.md", "run.sh")
    assert bytes(ws.read("run.sh")) == b"hello\n"
    assert ws.stat("run.sh").mode == 0o644


def test_checkpoint_restore_and_log(ws: pyi.Workspace, repo: pyi.Repository) -> None:
    base = ws.head
    assert not ws.dirty
    ws.write("README.md", "two\n")
    assert ws.dirty
    two = ws.checkpoint("two", metadata={"score": 1.5, "tags": ["x", None]})
    assert (two.message, two.parents, two.metadata) == ("two", [base.id], {"score": 1.5, "tags": ["x", None]})
    assert two.tree != base.tree
    assert two.time >= base.time
    assert ws.head == two
    assert not ws.dirty
    assert [checkpoint.message for checkpoint in ws.log()] == ["two", "base", ""]
    assert [checkpoint.message for checkpoint in ws.log(1)] == ["two"]
    ws.write("README.md", "lost\n")
    ws.restore(base.id)
    assert bytes(ws.read("README.md")) == b"hello\n"
    assert ws.head == base
    assert bytes(two.read("README.md")) == b"two\n"
    assert repo.get_checkpoint(two.id[:12]) == two
    assert hash(repo.get_checkpoint(two.id)) == hash(two)
    two.wait_durable()
    assert ws.checkpoint("the same again").tree == base.tree


def test_forks_are_isolated_and_carry_what_is_not_checkpointed(ws: pyi.Workspace) -> None:
    ws.write("README.md", "uncheckpointed\n")
    ws.state["x"] = 1
    ws.journal.append("note", text="before")
    fork = ws.fork()
    assert fork.name is None
    assert fork.dirty
    assert bytes(fork.read("README.md")) == b"uncheckpointed\n"
    assert fork.state["x"] == 1
    assert len(fork.journal) == 1
    fork.write("README.md", "fork\n")
    fork.state["x"] = 2
    fork.journal.append("note", text="fork")
    ws.write("src/a.py", "ws\n")
    assert bytes(ws.read("README.md")) == b"uncheckpointed\n"
    assert bytes(fork.read("src/a.py")) == b"a = 1\n"
    assert (ws.state["x"], fork.state["x"]) == (1, 2)
    assert (len(ws.journal), len(fork.journal)) == (1, 2)
    one, two = ws.checkpoint(), fork.checkpoint()
    assert one.parents == two.parents
    assert {change.path for change in fork.diff(ws)} == {"README.md", "src/a.py"}


OTHER_PROCESS = """
import sys
import pyi
with pyi.open(sys.argv[1], create=False) as repo:
    ws = repo.open_workspace("agent/7")
    print(bytes(ws.read("README.md")).decode(), ws.state["step"], ws.journal[-1].data["text"], ws.head.message)
    ws.write("README.md", "from the other process")
    print(ws.checkpoint("other").id)
"""


def test_named_workspaces_survive_the_process(ws: pyi.Workspace, repo: pyi.Repository, tmp_path: Path) -> None:
    agent = ws.fork("agent/7")
    assert agent.name == "agent/7"
    agent.write("README.md", "mine")
    agent.state["step"] = 3
    agent.journal.append("message", text="hi")
    agent.checkpoint("mine")
    assert repo.workspaces() == ["agent/7"]
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    first, id = done.stdout.splitlines()
    assert first == "mine 3 hi mine"
    assert repo.open_workspace("agent/7").head.id == id
    for write in (lambda: agent.write("README.md", "stale"), agent.checkpoint, lambda: agent.restore(ws.head)):
        with pytest.raises(pyi.LeaseLost, match=r"agent/7.*open_workspace"):
            write()
    assert bytes(agent.read("README.md")) == b"mine"
    repo.drop("agent/7")
    assert repo.workspaces() == []
    assert bytes(repo.get_checkpoint(id).read("README.md")) == b"from the other process"


def test_a_flushed_journal_survives_without_a_checkpoint(
    ws: pyi.Workspace, repo: pyi.Repository, tmp_path: Path
) -> None:
    agent = ws.fork("writer")
    agent.write("README.md", "not checkpointed")
    for number in range(600):
        agent.journal.append("step", number=number)
    agent.journal.flush()
    with pyi.open(tmp_path / "store") as other:
        again = other.view_workspace("writer")
        assert [event.data["number"] for event in again.journal] == list(range(600))
        assert bytes(again.read("README.md")) == b"hello\n"
    agent.journal.append("step", number=600)
    checkpoint = agent.checkpoint()
    assert len(repo.workspace(at=checkpoint).journal) == 601
    agent.restore(ws.head)
    assert len(agent.journal) == 0


def test_publish_moves_branches_by_compare_and_swap(ws: pyi.Workspace, repo: pyi.Repository) -> None:
    other = repo.workspace()
    ws.write("README.md", "ws\n")
    ws.checkpoint()
    ws.publish("main")
    assert repo.branches() == {"main": ws.head.id}
    other.write("src/a.py", "other\n")
    other.checkpoint()
    with pytest.raises(pyi.Conflict):
        other.publish("main")
    result = other.merge(repo.workspace())
    assert result
    assert result.clean
    assert result.conflicts == []
    merged = other.checkpoint("merged")
    assert len(merged.parents) == 2
    assert ws.head.id in merged.parents
    other.publish("main", expect=ws.head)
    assert files(repo.workspace())["README.md"] == b"ws\n"
    assert files(repo.workspace())["src/a.py"] == b"other\n"
    other.publish("topic")
    with pytest.raises(pyi.Conflict):
        other.publish("topic", expect=None)
    repo.delete_branch("topic", expect=merged)
    assert list(repo.branches()) == ["main"]


def test_merge_conflicts_are_data_and_change_nothing(ws: pyi.Workspace) -> None:
    left, right = ws.fork(), ws.fork()
    left.write("README.md", "left\n")
    left.state["k"] = "left"
    right.write("README.md", "right\n")
    right.write("src/new.py", "new\n")
    right.state["k"] = "right"
    left.checkpoint()
    right.checkpoint()
    result = left.merge(right)
    assert not result
    assert not result.clean
    assert [(found.path, found.reason) for found in result.conflicts] == [
        ("README.md", "both sides changed the same lines"),
        ("state:k", "both sides changed this key"),
    ]
    conflict = result.conflicts[0]
    assert conflict.base
    assert conflict.ours
    assert conflict.theirs
    assert len({conflict.base.id, conflict.ours.id, conflict.theirs.id}) == 3
    assert not left.dirty
    assert not left.exists("src/new.py")


def test_state_is_a_mapping(ws: pyi.Workspace) -> None:
    np = pytest.importorskip("numpy")
    values: dict[str, object] = {
        "none": None,
        "bools": [True, False],
        "ints": [0, -1, 2**63, -(2**63), 2**64 - 1, 2**64, -(2**64), -(2**64) - 1, 10**40, -(10**40)],
        "floats": [0.0, -0.0, 1.5, float("inf"), 1e-320],
        "text": "é\U0001f600\0",
        "bytes": b"\0\xff",
        "nested": {"a": [{"b": {}}, []]},
        "key/with/slashes and \0": 1,
    }
    ws.state.update(values)
    ws.state["scalar"] = np.float32(1.5)
    ws.state["tuple"] = (1, 2)
    arrays = {
        "f8": np.arange(100_000, dtype="<f8").reshape(100, 1000),
        "fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
        "strided": np.arange(20)[::2],
        "bool": np.array([[True], [False]]),
        "empty": np.zeros((0, 3)),
        "scalar": np.array(7, dtype="i2"),
        "text": np.array(["a", "bcd"]),
        "time": np.array(["2026-11-22"], dtype="M8[D]"),
        "complex": np.array([1 + 2j]),
    }
    for name, array in arrays.items():
        ws.state[f"array-{name}"] = array
    for stage in range(2):
        for key, value in values.items():
            assert ws.state[key] == value, (stage, key)
        assert str(ws.state["floats"][1]) == "-0.0"
        assert ws.state["scalar"] == 1.5
        assert ws.state["tuple"] == [1, 2]
        for name, array in arrays.items():
            found = ws.state[f"array-{name}"]
            assert found.dtype == array.dtype
            assert found.shape == array.shape
            assert (found == array).all()
            found.fill(0)
            assert (ws.state[f"array-{name}"] == array).all(), "reading gives copies"
        assert len(ws.state) == len(values) + 2 + len(arrays)
        ws.checkpoint()
    assert "none" in ws.state
    assert "nothing" not in ws.state
    assert 7 not in ws.state
    assert ws.state.get("nothing", 5) == 5
    before = ws.head
    assert ws.state.pop("none") is None
    del ws.state["text"]
    ws.state["nested"] = 1
    ws.checkpoint()
    ws.restore(before)
    assert ws.state["text"] == values["text"]
    assert ws.state["nested"] == values["nested"]
    with pytest.raises(pyi.InvalidArgument):
        ws.state["objects"] = np.array([object()])


def test_journal_is_an_append_only_list(ws: pyi.Workspace) -> None:
    for number in range(1000):
        ws.journal.append("step" if number % 2 else "tool", number=number, blob=b"x")
        if number % 97 == 0:
            ws.checkpoint()
    assert len(ws.journal) == 1000
    assert [event.data["number"] for event in ws.journal] == list(range(1000))
    assert (ws.journal[0].kind, ws.journal[-1].kind) == ("tool", "step")
    assert ws.journal[500].data == {"number": 500, "blob": b"x"}
    assert all(a.time <= b.time for a, b in zip(list(ws.journal), list(ws.journal)[1:], strict=False))
    for index in (1000, -1001):
        with pytest.raises(IndexError):
            ws.journal[index]


def test_superposition_observe_and_collapse(ws: pyi.Workspace, repo: pyi.Repository) -> None:
    sp = repo.superpose(ws, 4, weights=[1, 2, 3, 0])
    assert len(sp.candidates) == 4
    assert sp.weights == [1, 2, 3, 0]
    assert sp.observe() == 2
    drawn = {sp.observe(seed=seed) for seed in range(200)}
    assert drawn == {0, 1, 2}
    assert sp.observe(seed=7) == sp.observe(seed=7)
    sp.weigh(0, 9)
    assert sp.observe() == 0
    extra = ws.fork()
    assert sp.add(extra, weight=100) == 4
    for number, candidate in enumerate(sp.candidates):
        candidate.write("answer", str(number))
    winner = sp.collapse(sp.observe(), onto="main")
    assert repo.branches()["main"] == winner.id
    assert bytes(winner.read("answer")) == b"4"
    assert sp.candidates == []
    assert sp.wait(0) == winner
    for call in (lambda: sp.collapse(0), lambda: sp.weigh(0, 1), lambda: sp.observe()):
        with pytest.raises(pyi.Conflict):
            call()


def test_collapse_is_refused_when_the_branch_moved(ws: pyi.Workspace, repo: pyi.Repository) -> None:
    sp = repo.superpose("main", 2, name="try")
    assert repo.superpositions() == ["try"]
    assert repo.workspaces() == ["try/0", "try/1"]
    ws.write("README.md", "moved on")
    ws.checkpoint()
    ws.publish("main")
    with pytest.raises(pyi.Conflict):
        sp.collapse(0)
    assert len(sp.candidates) == 2
    assert repo.superpositions() == ["try"]
    result = sp.collapse(1, onto="elsewhere")
    assert repo.branches()["elsewhere"] == result.id
    assert repo.superpositions() == []
    assert repo.workspaces() == []
    with pytest.raises(pyi.NotFound):
        repo.superposition("try")


COLLAPSER = """
import sys
import pyi
with pyi.open(sys.argv[1]) as repo:
    sp = repo.superposition("shared")
    assert [bytes(ws.read("answer")) for ws in sp.candidates] == [b"0", b"1", b"2"]
    print(sp.collapse(2).id)
"""


def test_a_named_superposition_is_reattached_and_waited_for(
    ws: pyi.Workspace, repo: pyi.Repository, tmp_path: Path
) -> None:
    sp = repo.superpose(ws, 3, name="shared")
    for number, candidate in enumerate(sp.candidates):
        candidate.write("answer", str(number))
        candidate.checkpoint()
    outcome: list[pyi.Checkpoint | None] = []
    waiter = threading.Thread(target=lambda: outcome.append(sp.wait(60)))
    waiter.start()
    assert sp.wait(0.01) is None
    done = subprocess.run(
        [sys.executable, "-c", COLLAPSER, str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    waiter.join()
    (checkpoint,) = outcome
    assert checkpoint
    assert checkpoint.id == done.stdout.strip() == repo.branches()["main"]
    with pytest.raises(pyi.Conflict):
        sp.collapse(0)


def test_a_superposition_decays(ws: pyi.Workspace, repo: pyi.Repository) -> None:
    sp = repo.superpose(ws, 2, ttl=0, name="short")
    assert repo.superpositions() == []
    with pytest.raises(pyi.NotFound):
        sp.collapse(0)
    with pytest.raises(pyi.NotFound):
        sp.wait(1)


def test_many_threads_on_one_workspace_and_one_store(ws: pyi.Workspace, repo: pyi.Repository) -> None:
    failures: list[BaseException] = []
    ids: list[tuple[str, str]] = []

    def work(number: int) -> None:
        try:
            own = ws.fork()
            for step in range(60):
                own.write(f"own/{number}", f"{number} {step}")
                ids.append((own.checkpoint().id, f"{number} {step}"))
                own.restore(own.head)
                ws.write(f"shared/{number}/{step}", "x")
                ws.journal.append("step", number=number, step=step)
                ws.state[f"{number}"] = step
                assert bytes(own.read(f"own/{number}")) == f"{number} {step}".encode()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(ws.walk("shared"))) == len(ws.journal) == 480
    assert len(ws.state) == 8
    for id, text in ids:
        number = text.split()[0]
        assert bytes(repo.get_checkpoint(id).read(f"own/{number}")) == text.encode()


def test_an_empty_repository_begins_with_an_empty_main(repo: pyi.Repository) -> None:
    first, second = repo.workspace(), repo.workspace()
    assert first.head == second.head
    assert len(first) == 0
    assert first.head.parents == []
    first.write("a", "1")
    first.checkpoint()
    second.checkpoint()
    first.publish("main")
    with pytest.raises(pyi.Conflict):
        second.publish("main")


def test_stats_count_and_deduplicate(repo: pyi.Repository) -> None:
    ws = repo.workspace()
    ws.write_many({f"copy-{number}": b"the same content" * 64 for number in range(100)})
    ws.checkpoint()
    ws.publish("main")
    stats = repo.stats()
    assert stats["bytes_logical"] == 100 * 1024
    assert stats["files_logical"] == 100
    assert stats["branches"] == 1
    assert stats["bytes_stored"] < 20_000
    assert stats["dedup_ratio"] > 5
    repo.flush()


def test_many_checkpoints_at_once(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    forks = [ws.fork() for _ in range(20)] + [ws.fork("named")]
    for number, fork in enumerate(forks):
        fork.write("src/a.py", b"a = %d\n" % number)
        fork.write(f"new/{number}.bin", bytes([number]) * 5000)
        fork.state["number"] = number
    made = repo.checkpoint_many(forks, "together", metadata={"round": 1})
    assert [checkpoint.message for checkpoint in made] == ["together"] * 21
    assert made[0].metadata == {"round": 1}
    assert len({checkpoint.id for checkpoint in made}) == 21
    for number, (fork, checkpoint) in enumerate(zip(forks, made, strict=True)):
        assert fork.head == checkpoint
        assert not fork.dirty
        assert checkpoint.parents == [ws.head.id]
        fresh = repo.workspace(at=checkpoint)
        assert bytes(fresh.read("src/a.py")) == b"a = %d\n" % number
        assert bytes(fresh.read(f"new/{number}.bin")) == bytes([number]) * 5000
        assert fresh.state["number"] == number
    assert repo.view_workspace("named").head == made[-1]
    # The same content has the same trees, however it was stored.
    alone = ws.fork()
    alone.write("src/a.py", b"a = 3\n")
    alone.write("new/3.bin", bytes([3]) * 5000)
    alone.state["number"] = 3
    assert alone.checkpoint().tree == made[3].tree
    assert repo.checkpoint_many([]) == []
    twice = repo.checkpoint_many([forks[0], forks[0]])
    assert twice[0] == twice[1] == forks[0].head
    with pytest.raises(pyi.InvalidArgument):
        repo.checkpoint_many(forks, metadata={1: 2})  # type: ignore[dict-item]


def test_many_checkpoints_or_none(ws: pyi.Workspace, repo: pyi.Repository) -> None:
    free, named = ws.fork(), ws.fork("mine")
    free.write("x", b"1")
    named.write("x", b"2")
    with pyi.open(repo.path) as other:
        other.open_workspace("mine").write("y", b"taken")
        before = free.head
        with pytest.raises(pyi.LeaseLost):
            repo.checkpoint_many([free, named])
    assert free.head == before
    assert free.dirty


def test_workspaces_whose_trees_do_not_fit_go_on_as_the_others_do(tmp_path: Path) -> None:
    found = {}
    for name, trees_bytes in (("none", 0), ("all", None)):
        with pyi.open(tmp_path / name, trees_bytes=trees_bytes) as repository:
            base = repository.workspace()
            base.write_many({f"{n % 5}/{n % 7}/{n}": b"%d" % n for n in range(300)})
            base.checkpoint()
            forks = [base.fork() for _ in range(40)]
            for turn in range(6):
                for number, fork in enumerate(forks):
                    fork.write(f"{turn % 5}/{turn % 7}/{turn}", b"%d %d" % (turn, number))
                    fork.checkpoint()
            found[name] = [fork.head.tree for fork in forks]
            assert bytes(forks[3].read("2/2/2")) == b"2 3"
    assert found["none"] == found["all"]
    assert len(set(found["all"])) == 40


def test_trim_forgets_only_what_the_store_has(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    forks = [ws.fork() for _ in range(30)]
    for number, fork in enumerate(forks):
        fork.write(f"deep/er/{number}", bytes([number]) * 3000)
        fork.state["n"] = number
        fork.checkpoint()
    forks[3].write("dirty", b"not stored")
    repo.trim()
    assert bytes(forks[3].read("dirty")) == b"not stored"
    for number, fork in enumerate(forks):
        assert bytes(fork.read(f"deep/er/{number}")) == bytes([number]) * 3000
        assert fork.state["n"] == number
        fork.write("more", b"%d" % number)
        assert bytes(repo.workspace(at=fork.checkpoint()).read(f"deep/er/{number}")) == bytes([number]) * 3000
