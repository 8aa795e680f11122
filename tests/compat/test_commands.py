"""Git's commands on a workspace and the installed git, side by side: the same bytes and statuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from .pair import Pair, git_env, real_git

CODE = b"".join(b"def f%d():\n    a = %d\n    b = a + 1\n\n    return b\n\n" % (n, n) for n in range(40))

FILES = {
    "README.md": b"hello\nworld\n",
    "src/a.py": CODE,
    "src/b.py": b"one\ntwo\nthree\n",
    "src/deep/c.txt": b"no newline at end",
    "data.bin": bytes(range(256)),
    "with space.txt": b"x\n",
    "\u00e4.txt": b"umlaut\n",
}

LOOK = [
    ("status",),
    ("status", "-s"),
    ("status", "-s", "-b"),
    ("status", "--porcelain=v1", "-z"),
    ("status", "--porcelain=v2", "--branch"),
    ("status", "--porcelain=v2", "-z"),
    ("status", "-uno"),
    ("status", "-uall", "-s"),
    ("diff",),
    ("diff", "--stat"),
    ("diff", "--cached"),
    ("diff", "--cached", "--stat", "-p"),
    ("diff", "--name-status"),
    ("diff", "--name-only", "-z"),
    ("diff", "HEAD"),
    ("diff", "--numstat", "HEAD"),
    ("diff", "--shortstat", "--summary", "HEAD"),
    ("diff", "-U0"),
    ("diff", "-U10", "--", "src"),
    ("diff", "--quiet"),
    ("ls-files",),
    ("ls-files", "-s"),
    ("ls-files", "-m"),
    ("ls-files", "-d"),
    ("ls-files", "-o"),
    ("ls-files", "-o", "--exclude-standard"),
]

HISTORY = [
    ("log",),
    ("log", "--oneline"),
    ("log", "-1"),
    ("log", "-n", "2", "--stat"),
    ("log", "-p", "-2"),
    ("log", "--oneline", "--", "src"),
    ("log", "--format=%H %h %an <%ae> %ad %s%n%b"),
    ("log", "--pretty=format:%h %cI %D"),
    ("log", "--oneline", "--name-status"),
    ("log", "--pretty=fuller", "--date=iso"),
    ("show",),
    ("show", "--stat"),
    ("show", "--name-only", "--oneline"),
    ("show", "-s", "--format=%H"),
    ("show", "HEAD:README.md"),
    ("rev-parse", "HEAD"),
    ("rev-parse", "--short", "HEAD"),
    ("rev-parse", "--abbrev-ref", "HEAD"),
    ("rev-parse", "--verify", "-q", "nothing"),
    ("rev-parse", "nothing"),
    ("rev-parse", "HEAD~1", "HEAD^{tree}"),
    ("branch",),
    ("branch", "-v"),
    ("branch", "--show-current"),
    ("tag",),
    ("cat-file", "-p", "HEAD"),
    ("cat-file", "-t", "HEAD^{tree}"),
    ("cat-file", "-p", "HEAD^{tree}"),
]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path, FILES)


def look(pair: Pair, commands: list[tuple[str, ...]] = LOOK) -> None:
    for argv in commands:
        pair.git(*argv)
    pair.check()


def change(pair: Pair) -> None:
    pair.write("src/a.py", CODE.replace(b"a = 7", b"a = 77").replace(b"b\n\ndef f20", b"c\n\n\ndef f20"))
    pair.write("src/b.py", b"one\nthree\nfour")
    pair.write("src/deep/c.txt", b"a newline at end\n")
    pair.write("data.bin", bytes(range(255)))
    pair.write("new/x/y.txt", b"new\n")
    pair.write("new/z.txt", b"new too\n")
    pair.write("empty.txt", b"")
    pair.remove("with space.txt")
    pair.chmod("README.md", True)


def test_a_clean_workspace(pair: Pair) -> None:
    look(pair)
    look(pair, HISTORY)


def test_changes_in_the_work_tree(pair: Pair) -> None:
    change(pair)
    look(pair)


def test_changes_in_the_index(pair: Pair) -> None:
    change(pair)
    pair.git("add", "-v", "src", "README.md")
    look(pair)
    pair.git("add", "-A", "-n")
    pair.git("add", "-A")
    look(pair)


def test_commits(pair: Pair) -> None:
    change(pair)
    pair.git("add", "src")
    pair.git("commit", "-m", "Change the source", "-m", "For a\nreason.")
    look(pair)
    look(pair, HISTORY)
    pair.git("commit", "-a", "-m", "The rest of it")
    pair.git("add", ".")
    pair.git("commit", "-q", "-m", "New files")
    look(pair, HISTORY)
    pair.git("commit", "-m", "nothing")
    pair.git("commit", "--amend", "-m", "New files, amended")
    pair.git("commit", "--allow-empty", "-m", "empty")
    pair.git("commit", "--author=X Y <x@y>", "--allow-empty", "-F", "-", stdin=b"from input\n\n\n\nbody  \n")
    look(pair, HISTORY)
    pair.check_same_files()


def test_the_first_commit(tmp_path: Path) -> None:
    pair = Pair(tmp_path, {"a.txt": b"a\n", "d/b.txt": b"b\n"}, commit=False)
    look(pair, [("status",), ("status", "-s", "-b"), ("log",), ("ls-files",), ("branch",), ("rev-parse", "HEAD")])
    pair.git("commit", "-m", "nothing yet")
    pair.git("add", "a.txt")
    look(pair, [("status",), ("status", "--porcelain=v2", "-b"), ("diff", "--cached")])
    pair.git("commit", "-m", "first")
    look(pair, [("status",), ("log",), ("show",), ("branch", "-v")])


def test_renames(pair: Pair) -> None:
    pair.git("mv", "src/a.py", "src/renamed.py")
    pair.git("mv", "src/b.py", "b.py")
    look(pair)
    pair.write("src/renamed.py", CODE.replace(b"f7", b"g7") + b"more\n")
    look(pair)
    pair.git("add", "-A")
    look(pair)
    pair.git("commit", "-m", "renames")
    look(pair, [*HISTORY, ("show", "--no-renames", "--stat"), ("log", "--oneline", "--", "src/a.py")])


def test_removals(pair: Pair) -> None:
    pair.git("rm", "README.md")
    pair.git("rm", "src")
    pair.git("rm", "nothing")
    pair.git("rm", "--cached", "data.bin")
    pair.write("src/b.py", b"changed\n")
    pair.git("rm", "src/b.py")
    pair.git("rm", "-r", "-q", "-f", "src")
    look(pair)
    pair.git("commit", "-m", "removed")
    pair.check_same_files()


def test_branches(pair: Pair) -> None:
    pair.git("branch", "side")
    pair.git("branch", "side")
    pair.git("branch")
    pair.git("checkout", "side")
    pair.git("checkout", "side")
    pair.write("side.txt", b"side\n")
    pair.git("add", "side.txt")
    pair.git("commit", "-m", "on the side")
    pair.git("switch", "main")
    pair.check_same_files()
    pair.git("log", "--oneline", "main..side")
    pair.git("diff", "main", "side")
    pair.git("branch", "-d", "side")
    pair.write("README.md", b"local\n")
    pair.git("checkout", "-b", "third")
    pair.git("status")
    pair.git("commit", "-am", "third")
    pair.write("README.md", b"again\n")
    pair.git("checkout", "main")
    pair.git("checkout", "nothing")
    pair.git("switch", "nothing")
    pair.git("checkout", "--", "README.md")
    pair.git("switch", "-c", "fourth", "main")
    pair.git("branch", "-m", "fifth")
    pair.git("branch", "-D", "side", "third")
    pair.git("branch", "-v")
    look(pair, HISTORY)
    pair.check_same_files()


def test_detached(pair: Pair) -> None:
    pair.write("x", b"x\n")
    pair.git("add", "x")
    pair.git("commit", "-m", "x")
    pair.git("checkout", "HEAD~1")
    look(pair, [("status",), ("branch",), ("status", "-sb"), ("log", "--oneline", "--decorate")])
    pair.git("checkout", "main")
    pair.git("tag", "v1")
    pair.git("checkout", "-q", "v1")
    pair.git("status")
    pair.git("switch", "main")
    look(pair, HISTORY)


def test_restore_and_reset(pair: Pair) -> None:
    change(pair)
    pair.git("add", "-A")
    pair.git("restore", "--staged", "src/a.py", "new")
    pair.git("status", "-s")
    pair.git("reset", "-q", "data.bin")
    pair.git("reset", "README.md")
    pair.git("restore", "src/a.py")
    pair.git("restore", "nothing")
    pair.git("status", "-s")
    pair.git("reset")
    pair.git("status", "-s")
    pair.git("add", "-A")
    pair.git("commit", "-m", "all")
    pair.git("reset", "--soft", "HEAD~1")
    pair.git("status", "-s")
    pair.git("reset", "--hard", "HEAD")
    pair.git("status", "-s")
    pair.git("log", "--oneline")
    pair.git("rev-parse", "HEAD@{1}")
    pair.git("reset", "nothing")
    pair.check()
    pair.check_same_files()


def test_ignored_files(pair: Pair) -> None:
    pair.write(".gitignore", b"*.o\n/build/\n!keep.o\n")
    pair.write("src/x.o", b"x")
    pair.write("src/keep.o", b"x")
    pair.write("build/a/b", b"x")
    pair.write("only/y.o", b"y")
    look(pair)
    pair.git("add", "src/x.o")
    pair.git("add", "build")
    pair.git("add", "-f", "build/a/b")
    pair.git("add", ".")
    pair.git("add", "nothing")
    pair.git("add")
    look(pair)


def test_tags_and_config(pair: Pair) -> None:
    for argv in [
        ("tag", "v1"),
        ("tag", "v1"),
        ("tag", "-a", "v2", "-m", "two"),
        ("tag", "-l", "v*"),
        ("cat-file", "-p", "v2"),
        ("rev-parse", "v2", "v2^{commit}"),
        ("tag", "-d", "v1", "nothing"),
        ("log", "-1", "--decorate", "--oneline"),
        ("config", "user.name"),
        ("config", "user.name", "Dora"),
        ("config", "user.name"),
        ("config", "get", "user.name"),
        ("config", "--unset", "user.name"),
        ("config", "user"),
        # Git ends with 2 where a name that is written has half of what it needs, and with 1 where it is read.
        ("config", "user", "Dora"),
        ("config", "--unset", "user"),
        ("config", "user."),
        ("config", "user.", "Dora"),
        ("config", ".name", "Dora"),
        ("config", "user.1", "Dora"),
    ]:
        pair.git(*argv)
    pair.check()


def test_what_a_failed_command_leaves(pair: Pair) -> None:
    """A commit that is not made takes back what it put into the index; of other commands stays what they did before."""
    pair.write("c.txt", b"c\n")
    pair.git("add", "c.txt")
    pair.git("commit", "-q", "-m", "more")
    pair.git("branch", "one")
    pair.git("tag", "t1")
    pair.write("c.txt", b"changed\n")
    pair.write("README.md", b"staged\n")
    pair.git("add", "README.md")
    pair.write("ok.txt", b"ok\n")
    pair.write(".gitignore", b"*.log\n")
    pair.write("x.log", b"log\n")
    failing = [
        ("commit", "-a", "-m", ""),
        ("commit", "-q", "-a", "-F", "-"),
        ("commit", "-m", "x", "--reset-author"),
        ("add", "ok.txt", "missing"),
        ("add", "ok.txt", "x.log"),
        ("rm", "c.txt", "missing"),
        ("rm", "c.txt", "README.md"),
        ("rm", "--cached", "missing", "c.txt"),
        ("mv", "c.txt", "ok.txt", "missing"),
        ("mv", "src", "src/below"),
        ("tag", "-d", "t1", "nothing"),
        ("branch", "-D", "one", "nothing"),
        ("branch", "main/below"),
        ("checkout", "-b", "main/below", "HEAD~1"),
        ("checkout", "HEAD~1", "--", "c.txt", "missing"),
        ("restore", "--staged", "README.md", "missing"),
        ("reset", "--hard", "missing"),
        ("config", "user", "Dora"),
    ]
    for argv in failing:
        pair.git(*argv)
        pair.git("status", "--porcelain")
        pair.git("ls-files", "-s")
        pair.git("for-each-ref")
        pair.git("reflog", "-n", "1")
        pair.check_same_files()
    # All of it was already there: the index is what it was before -a put c.txt into it.
    pair.git("reset", "--hard")
    pair.write("c.txt", b"c\n")
    pair.git("commit", "-a", "-m", "nothing")
    pair.check()


def test_stash(pair: Pair) -> None:
    pair.git("stash")
    pair.write("README.md", b"changed\n")
    pair.write("added.txt", b"added\n")
    pair.git("add", "added.txt")
    pair.git("stash", "push", "-m", "work")
    pair.check_same_files()
    pair.git("stash", "list")
    pair.git("status")
    pair.git("stash", "pop")
    pair.check_same_files()
    pair.git("status")
    pair.git("stash")
    pair.git("stash", "list")
    pair.git("log", "--oneline", "--all")
    pair.check()


def test_agents_commits_reach_real_git(pair: Pair, tmp_path: Path) -> None:
    real_git(tmp_path, "init", "-q", "--bare", "target.git")
    real_git(pair.directory, "push", "-q", str(tmp_path / "target.git"), "main:base")
    names = {}
    agents = [pair.ws.fork() for _ in range(20)]
    for step in range(5):
        for number, agent in enumerate(agents):
            agent.write(f"agent/{number}.txt", b"agent %d step %d\n" % (number, step))
            assert agent.git("add", "-A").returncode == 0
            done = agent.git("commit", "-q", "-m", f"agent {number}, step {step}")
            assert (done.returncode, done.stderr) == (0, b"")
    for number, agent in enumerate(agents):
        names[number] = agent.git("rev-parse", "HEAD").stdout.decode().strip()
        assert agent.export_git(tmp_path / "target.git", f"agent-{number}") == names[number]
    assert len(set(names.values())) == 20
    fsck = real_git(tmp_path / "target.git", "fsck", "--strict")
    assert (fsck.returncode, fsck.stdout) == (0, b"")
    for number in range(20):
        log = real_git(tmp_path / "target.git", "log", "--format=%s", f"agent-{number}").stdout.decode().splitlines()
        assert log == [f"agent {number}, step {step}" for step in (4, 3, 2, 1, 0)] + ["base"]


def test_restore_brings_the_git_state_back(pair: Pair) -> None:
    pair.write("README.md", b"one\n")
    pair.ws.git("add", "README.md")
    before = pair.ws.checkpoint("staged")
    status = pair.ws.git("status", "--porcelain").stdout
    assert status == b"M  README.md\n"
    fork = pair.ws.fork()
    pair.ws.git("commit", "-m", "one")
    pair.ws.git("branch", "extra")
    assert fork.git("log", "--oneline").stdout.count(b"\n") == 1
    assert fork.git("status", "--porcelain").stdout == status
    pair.ws.restore(before)
    assert pair.ws.git("status", "--porcelain").stdout == status
    assert pair.ws.git("branch").stdout == b"* main\n"


def test_what_is_not_done_says_so_and_changes_nothing(pair: Pair) -> None:
    head = pair.ws.head.id
    for argv in [("rebase", "main"), ("status", "--ignored"), ("commit",), ("-C", "x", "status")]:
        done = pair.ws.git(*argv)
        assert done.returncode == 128
        assert b"ws.materialize(directory)" in done.stderr
    assert pair.ws.head.id == head
    assert not pair.ws.dirty


def test_commits_are_served_and_exported_with_what_came_after(pair: Pair, tmp_path: Path) -> None:
    real_git(tmp_path, "init", "-q", "--bare", "target.git")
    real_git(pair.directory, "push", "-q", str(tmp_path / "target.git"), "main:base")
    named = pair.ws.fork("agent")
    named.write("README.md", b"committed\n")
    named.git("commit", "-a", "-m", "by git", env=git_env(1))
    head = named.git("rev-parse", "HEAD").stdout.decode().strip()
    named.write("README.md", b"not committed\n")
    name = named.export_git(tmp_path / "target.git", "work", message="on top")
    parents = real_git(tmp_path / "target.git", "rev-list", "--parents", "-n", "1", "work").stdout.decode().split()
    assert parents == [name, head]
    assert real_git(tmp_path / "target.git", "fsck", "--strict").returncode == 0


def test_files_and_directories_of_own_commits_have_short_names(pair: Pair) -> None:
    """A directory that only the workspace has was known by its whole name alone."""
    pair.write("src/new/file.txt", b"new\n")
    pair.git("add", "-A")
    pair.git("commit", "-q", "-m", "new")
    for revision in ("HEAD^{tree}", "HEAD:src", "HEAD:src/new", "HEAD:src/new/file.txt"):
        name = real_git(pair.directory, "rev-parse", revision).stdout.decode().strip()
        for argv in (("cat-file", "-t", name[:12]), ("show", name[:10]), ("rev-parse", name[:8])):
            pair.git(*argv)
    pair.git("show", "0123456789")
    pair.git("show", "")
    pair.git("log", "")
    pair.git("diff", "")
    assert not pair.differences, "\n".join(pair.differences)
    assert not pair.unavailable


def test_a_commit_that_is_not_made_takes_back_what_it_staged(tmp_path: Path) -> None:
    """In a repository without commits the only file was added, removed from disk, and `commit -a` had nothing left."""
    pair = Pair(tmp_path, {"only.txt": b"1\n"}, commit=False)
    pair.git("add", "-A")
    pair.remove("only.txt")
    pair.git("commit", "-a", "-m", "nothing")
    for look in (("status", "--porcelain"), ("ls-files", "-s"), ("add", "-Av"), ("ls-files",)):
        pair.git(*look)
    assert not pair.differences, "\n".join(pair.differences)
    assert not pair.unavailable
