"""Repositories that mean harm: what git would not do is not done, and what it would run is git's to run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .world import ALL, CHANGE, LOOK, World, alike, alone, lines, tell


def test_a_harmless_repository_is_dealt_with_natively(tmp_path: Path, shim: Path) -> None:
    """Else the other tests would say nothing."""
    told = alike(tmp_path, shim, lambda world: None, ALL)
    assert told.ran == set()
    # What git does because the index is as young as its files, it does in the other tests too.
    assert len(told.native) > len(ALL) / 2, told.native


# --- what the configuration would run ---


def config(**keys: str) -> Callable[[World], None]:
    """Sets keys, of which `TRAP` in the value becomes a trap."""

    def build(world: World) -> None:
        for name, value in keys.items():
            key = name.replace("__", ".")
            trap = world.trap(key.replace(".", "-"))
            world.git("config", key, value.replace("TRAP", trap))

    return build


def attributes(line: str, build: Callable[[World], None]) -> Callable[[World], None]:
    def both(world: World) -> None:
        build(world)
        world.write(".gitattributes", f"*.txt {line}\n")

    return both


def hooks(world: World) -> None:
    samples = [path.name.removesuffix(".sample") for path in (world.dot_git / "hooks").iterdir()]
    for name in {
        *samples,
        "post-checkout",
        "post-commit",
        "post-index-change",
        "post-rewrite",
        "reference-transaction",
    }:
        (world.dot_git / "hooks" / name).symlink_to(world.trap(f"hook-{name}"))


def hooks_elsewhere(world: World) -> None:
    place = world.top / "hooks"
    place.mkdir()
    for name in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction"):
        (place / name).symlink_to(world.trap(f"hook-{name}"))
    world.git("config", "core.hooksPath", str(place))


def included(condition: str) -> Callable[[World], None]:
    def build(world: World) -> None:
        trap = world.trap("included")
        text = f"[core]\n\tfsmonitor = {trap}\n[diff]\n\texternal = {trap}\n[alias]\n\tst = !{trap}\n"
        (world.top / "included").write_text(text)
        with (world.dot_git / "config").open("a") as file:
            file.write(f"[{condition}]\n\tpath = {world.top}/included\n")

    return build


def promised(world: World) -> None:
    """An object that is not there, and somebody who has it."""
    trap = world.trap("promised")
    world.git("config", "remote.origin.url", f"ext::{trap} %S")
    world.git("config", "remote.origin.promisor", "true")
    world.git("config", "protocol.ext.allow", "always")
    oid = world.git("rev-parse", "HEAD:a.txt").decode()
    (world.dot_git / "objects" / oid[:2] / oid[2:]).unlink()


TRAPS: dict[str, Callable[[World], None]] = {
    "fsmonitor": config(core__fsmonitor="TRAP"),
    "ssh": config(core__sshCommand="TRAP", remote__origin__url="ssh://nowhere.invalid/x"),
    "pager": config(core__pager="TRAP", pager__log="TRAP", pager__status="TRAP", pager__diff="true"),
    "editor": config(core__editor="TRAP", sequence__editor="TRAP"),
    "external diff": config(diff__external="TRAP"),
    "diff driver": attributes("diff=x", config(diff__x__command="TRAP")),
    "textconv": attributes("diff=x", config(diff__x__textconv="TRAP")),
    "filter": attributes("filter=x", config(filter__x__clean="TRAP", filter__x__smudge="TRAP")),
    "filter process": attributes("filter=x", config(filter__x__process="TRAP", filter__x__required="true")),
    "merge driver": attributes("merge=x", config(merge__x__driver="TRAP %A %O %B")),
    "signing": config(gpg__program="TRAP", commit__gpgSign="true", tag__gpgSign="true", log__showSignature="true"),
    "hooks": hooks,
    "hooks elsewhere": hooks_elsewhere,
    "include": included("include"),
    "include if": included('includeIf "gitdir:**/repo/.git"'),
    "work tree elsewhere": config(core__worktree="../../outside"),
    "credentials": config(credential__helper="!TRAP", core__askPass="TRAP", core__gitProxy="TRAP"),
    "trailers": config(trailer__x__command="TRAP", trailer__x__ifmissing="add"),
    "alternates": config(core__alternateRefsCommand="TRAP"),
    "promisor": promised,
    "interactive": config(interactive__diffFilter="TRAP", difftool__x__cmd="TRAP", diff__tool="x"),
    "attributes elsewhere": attributes("-text", config(core__attributesFile="../outside/x", filter__x__clean="TRAP")),
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps_are_gits_to_run(tmp_path: Path, shim: Path, name: str) -> None:
    if name == "filter process":
        # What git says when such a filter ends depends on who is faster.
        alone(tmp_path, shim, TRAPS[name], ALL)
    else:
        alike(tmp_path, shim, TRAPS[name], ALL)


def test_aliases_are_gits(tmp_path: Path, shim: Path) -> None:
    def build(world: World) -> None:
        trap = world.trap("alias")
        for alias in ("st", "status", "commit", "lg"):
            world.git("config", f"alias.{alias}", f"!{trap}")

    told = alike(tmp_path, shim, build, lines("status -s", "st", "lg -1", "commit -qam x", "log -1"))
    assert told.ran == {"alias"}


def test_signatures_are_not_checked_here(tmp_path: Path, shim: Path) -> None:
    """`%G?` runs a program for each commit that has a signature."""

    def build(world: World) -> None:
        raw = world.git("cat-file", "commit", "HEAD") + b"\n"
        signed = raw.replace(
            b"\n\n", b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n", 1
        )
        world.git("update-ref", "HEAD", world.loose(b"commit", signed))
        world.git("config", "gpg.program", world.trap("gpg"))

    commands = [
        ("log", "-1"),
        ("log", "-1", "--format=%G? %h"),
        ("log", "-1", "--show-signature"),
        ("show", "--format=%GK"),
    ]
    alike(tmp_path, shim, build, commands)


# --- repositories of others ---


def foreign(build: Callable[[World], None]) -> Callable[[World], None]:
    def owned(world: World) -> None:
        build(world)
        for here, directories, files in os.walk(world.repo):
            for name in [".", *directories, *files]:
                os.chown(Path(here) / name, 12345, 12345, follow_symlinks=False)

    return owned


def pipe_as_config(world: World) -> None:
    """Whoever reads it waits for ever."""
    (world.dot_git / "config").unlink()
    os.mkfifo(world.dot_git / "config")


def broken_config(world: World) -> None:
    (world.dot_git / "config").write_text("[core\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("build", [TRAPS["fsmonitor"], TRAPS["include"], hooks, broken_config, pipe_as_config])
def test_a_repository_of_somebody_else_is_not_looked_into(
    tmp_path: Path, shim: Path, build: Callable[[World], None]
) -> None:
    told = alike(tmp_path, shim, foreign(build), ALL)
    assert told.ran == set()
    assert told.native == []
    # Some compare files, or set what they are asked to, without a repository.
    stopped = [answer for answer in told.answers if answer.words[0] not in ("config", "diff")]
    assert all(b"dubious ownership" in answer.err for answer in stopped)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_git_directory_of_somebody_else_in_a_directory_of_ours(tmp_path: Path, shim: Path) -> None:
    def build(world: World) -> None:
        TRAPS["fsmonitor"](world)
        os.chown(world.dot_git, 12345, 12345)

    told = alike(tmp_path, shim, build, ALL)
    assert (told.ran, told.native) == (set(), [])


# --- links in the place of git's own files ---


def dot_git_is_link(world: World) -> None:
    world.dot_git.rename(world.outside / "git")
    world.dot_git.symlink_to(world.outside / "git")


def dot_git_is_file(world: World) -> None:
    world.dot_git.rename(world.outside / "git")
    world.dot_git.write_text("gitdir: ../outside/git\n")


def dot_git_is_loop(world: World) -> None:
    shutil.rmtree(world.dot_git)
    world.dot_git.symlink_to(".git")


def dot_git_names_itself(world: World) -> None:
    shutil.rmtree(world.dot_git)
    world.dot_git.write_text("gitdir: .git\n")


def common_directory_elsewhere(world: World) -> None:
    shutil.copytree(world.dot_git, world.outside / "git")
    (world.dot_git / "commondir").write_text("../../outside/git\n")


def linked(name: str) -> Callable[[World], None]:
    """A file or directory of the git directory is a link to one outside."""

    def build(world: World) -> None:
        target = world.outside / "linked"
        if (world.dot_git / name).exists():
            (world.dot_git / name).rename(target)
        else:
            target.write_text("outside\n")
        (world.dot_git / name).symlink_to(target)

    return build


LINKS = {
    "link": dot_git_is_link,
    "file": dot_git_is_file,
    "loop": dot_git_is_loop,
    "itself": dot_git_names_itself,
    "common": common_directory_elsewhere,
}
FILES = [
    "HEAD",
    "config",
    "index",
    "packed-refs",
    "COMMIT_EDITMSG",
    "ORIG_HEAD",
    "refs/heads/main",
    "refs/heads/side",
    "logs/HEAD",
    "logs/refs/heads/main",
    "refs/stash",
    "refs/tags/v1",
    "info/exclude",
    "index.lock",
]
DIRECTORIES = ["objects", "refs", "refs/heads", "logs", "logs/refs", "hooks", "info"]


@pytest.mark.parametrize("name", LINKS)
def test_a_git_directory_that_is_elsewhere(tmp_path: Path, shim: Path, name: str) -> None:
    alike(tmp_path, shim, LINKS[name], ALL)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_git_directory_that_is_a_link(tmp_path: Path, shim: Path, name: str) -> None:
    """Git writes through some of them, which then is git's doing: with git away nothing outside changes."""
    alike(tmp_path, shim, linked(name), ALL)


@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_directory_of_the_git_directory_that_is_a_link(tmp_path: Path, shim: Path, name: str) -> None:
    """People keep objects and refs elsewhere in this way: what is there belongs to the repository."""
    commands = [*LOOK[:8], *CHANGE]
    git, ours = (tell(tmp_path, shim, linked(name), commands, how) for how in ("git", "pyi"))
    assert (ours.answers, ours.repository, ours.ran) == (git.answers, git.repository, git.ran)


@pytest.mark.parametrize(
    "name", ["config", "packed-refs", "HEAD", "index", "info/exclude", "refs/heads/main", "logs/HEAD"]
)
@pytest.mark.parametrize("kind", ["pipe", "zero", "huge"])
def test_what_never_ends_is_not_read(tmp_path: Path, shim: Path, name: str, kind: str) -> None:
    def build(world: World) -> None:
        path = world.dot_git / name
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "zero":
            path.symlink_to("/dev/zero")
        else:
            with path.open("wb") as file:
                file.truncate(1 << 40)

    commands = lines("rev-parse HEAD", "status", "log -1", "commit -qam x", "branch", "reflog")
    alone(tmp_path, shim, build, commands)


# --- paths in trees and in the index ---

EVIL_NAMES = [
    b"..",
    b"../outside/x",
    b".",
    b".git",
    b".GIT",
    b".Git ",
    b".git.",
    b"git~1",
    b"GIT~1",
    b".git::$INDEX_ALLOCATION",
    b".g\xe2\x80\x8cit",
    b"\xef\xbb\xbf.git",
    b"/outside",
    b"a/../../outside/x",
    b"d//x",
    b"..\\x",
    b".git\\config",
    b"",
]
MOVES = lines(
    "checkout -q evil",
    "switch -q evil",
    "reset -q --hard evil",
    "status --short",
    "reset -q --hard main",
    "checkout -q evil -- .",
    "restore -q --source evil .",
    "restore -q -SW --source evil .",
    "stash -q",
    "reset -q evil",
    "commit -q -m more",
    "checkout -q -f main",
    "diff main evil",
    "show --stat evil",
    "log -p -1 evil",
    "ls-tree -r evil",
    "ls-files",
)


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_names_that_lead_out_of_a_tree(tmp_path: Path, shim: Path, name: bytes) -> None:
    def build(world: World) -> None:
        evil = world.blob(b"#!/bin/sh\n")
        entries = sorted([("100755", name, evil), ("100644", b"zz", evil)], key=lambda entry: entry[1])
        world.commit(world.tree(entries), "evil")

    alike(tmp_path, shim, build, MOVES)


@pytest.mark.parametrize("name", [b"..", b".git", b".gIt", b"git~1", b".g\xe2\x80\x8dit", b"."])
def test_directories_that_lead_out_of_a_tree(tmp_path: Path, shim: Path, name: bytes) -> None:
    def build(world: World) -> None:
        evil = world.blob(b"[core]\n\tfsmonitor = false\n")
        below = world.tree([("100755", b"config", evil), ("100644", b"x", evil)])
        entries = sorted([("100644", b"A", evil), ("40000", name, below)], key=lambda entry: entry[1])
        world.commit(world.tree(entries), "evil")

    alike(tmp_path, shim, build, MOVES)


def test_a_tree_without_order(tmp_path: Path, shim: Path) -> None:
    """What git makes of it depends on what it knows already: that is its own affair."""

    def build(world: World) -> None:
        evil = world.blob(b"evil\n")
        world.commit(world.tree([("100644", name, evil) for name in (b"z", b"a", b"z", b"..")]), "evil")

    alone(tmp_path, shim, build, MOVES)


@pytest.mark.parametrize("order", [(b"link", b"link"), (b"Link", b"link")])
def test_a_link_and_a_directory_of_one_name(tmp_path: Path, shim: Path, order: tuple[bytes, bytes]) -> None:
    """The file below must not go through the link that comes first."""

    def build(world: World) -> None:
        out = world.blob(os.fsencode(world.outside))
        below = world.tree([("100644", b"x", world.blob(b"evil\n"))])
        world.commit(world.tree([("120000", order[0], out), ("40000", order[1], below)]), "evil")

    # Of a malformed tree git says one thing or the other, by what it knows already.
    check = alone if order[0] == order[1] else alike
    check(tmp_path, shim, build, MOVES)


@pytest.mark.parametrize("name", [b".gitmodules", b".gitattributes", b".gitignore", b".mailmap"])
def test_links_that_git_would_have_to_read(tmp_path: Path, shim: Path, name: bytes) -> None:
    def build(world: World) -> None:
        out = world.blob(os.fsencode(world.outside / "x"))
        world.commit(world.tree([("120000", name, out), ("100644", b"a.txt", world.blob(b"a\n"))]), "evil")

    # Whether git warns of rules that are a link depends on whether it has to read a file, and so on the clock.
    check = alone if name == b".gitattributes" else alike
    check(tmp_path, shim, build, MOVES)


@pytest.mark.parametrize(
    "path",
    [
        b"../outside/x",
        b".git/config",
        b".GIT/config",
        b"/outside/x",
        b"link/x",
        b"d/../../outside/x",
        b"git~1/config",
        b"d//e.txt",
        b"./a.txt",
        b".git",
    ],
)
def test_paths_of_the_index_that_lead_out(tmp_path: Path, shim: Path, path: bytes) -> None:
    def build(world: World) -> None:
        (world.repo / "link").symlink_to(world.outside)
        evil = world.blob(b"evil\n")
        world.index([(path, evil), (b"a.txt", evil)])

    commands = [
        *LOOK[:9],
        *lines("checkout -q -- a.txt", "commit -q -m evil", "mv a.txt z.txt", "restore --staged z.txt", "add -u"),
    ]
    alike(tmp_path, shim, build, commands)
    # Here git itself may write where the index says.
    everything = lines("checkout -q -- .", "restore .", "rm -rfq .", "reset -q --hard", "stash")
    for words in everything:
        alone(tmp_path, shim, build, [words])


# --- links in the middle of a path ---

THROUGH = lines(
    "status",
    "diff",
    "diff --stat HEAD",
    "ls-files -m",
    "ls-files -o",
    "add d/e.txt",
    "add -A",
    "add .",
    "add d",
    "add -u",
    "add d/new",
    "commit -qam x",
    "commit -qm x d/e.txt",
    "checkout -- d/e.txt",
    "checkout HEAD~1 -- d/e.txt",
    "checkout -q other",
    "checkout -qf other",
    "switch -q other",
    "restore d/e.txt",
    "restore -SW -s HEAD~1 d",
    "rm d/e.txt",
    "rm -f d/e.txt",
    "rm -rf d",
    "rm --cached d/e.txt",
    "mv d/e.txt y",
    "mv d y",
    "mv a.txt d/",
    "mv a.txt d/new",
    "stash -q",
    "reset -q --hard",
    "reset -q --hard HEAD~1",
    "reset -q HEAD~1",
    "clean -fdq",
    "show HEAD:d/e.txt",
)


@pytest.mark.parametrize("words", THROUGH, ids=" ".join)
def test_a_link_in_the_middle_of_a_path(tmp_path: Path, shim: Path, words: tuple[str, ...]) -> None:
    def build(world: World) -> None:
        shutil.rmtree(world.repo / "d")
        (world.repo / "d").symlink_to(world.outside / "d")

    # Git itself goes through some of them: that stays its own affair.
    alike(tmp_path, shim, build, [words, ("status", "--short")])


@pytest.mark.parametrize("target", ["../outside", "/", ".git", "..", "d"])
def test_branches_on_which_a_directory_is_a_link(tmp_path: Path, shim: Path, target: str) -> None:
    def build(world: World) -> None:
        world.git("checkout", "-q", "-f", "-b", "evil")
        world.git("rm", "-rq", "d")
        (world.repo / "d").symlink_to(target)
        world.git("add", "-A")
        world.git("commit", "-q", "-m", "link")
        world.git("checkout", "-q", "main")

    moves = lines("stash push -q", "checkout -q evil", "stash apply", "switch -q -", "restore -s evil d")
    told = alike(tmp_path, shim, build, [*MOVES, *moves])
    assert told.outside == {}


# --- names of refs ---


def head_leads_out(target: str) -> Callable[[World], None]:
    return lambda world: (world.dot_git / "HEAD").write_text(f"ref: {target}\n")


def packed(name: str) -> Callable[[World], None]:
    def build(world: World) -> None:
        oid = world.git("rev-parse", "HEAD").decode()
        (world.dot_git / "packed-refs").write_text(f"# pack-refs with: peeled fully-peeled sorted \n{oid} {name}\n")

    return build


def symbolic(target: str) -> Callable[[World], None]:
    return lambda world: (world.dot_git / "refs/heads/side").write_text(f"ref: {target}\n")


REFS = {
    "head out": head_leads_out("refs/heads/../../../outside/new"),
    "head at a file": head_leads_out("refs/heads/../../../outside/x"),
    "head at config": head_leads_out("refs/../config"),
    "head at head": head_leads_out("refs/../HEAD"),
    "head of no branch": head_leads_out("refs/x"),
    "head is lock": head_leads_out("refs/heads/x.lock"),
    "head is hidden": head_leads_out("refs/heads/.x"),
    "packed out": packed("refs/heads/../../../outside/new"),
    "packed elsewhere": packed("../../outside/new"),
    "packed config": packed("config"),
    "symbolic out": symbolic("refs/heads/../../../outside/x"),
    "symbolic loop": symbolic("refs/heads/side"),
    "symbolic config": symbolic("config"),
}


@pytest.mark.parametrize("name", REFS)
def test_names_of_refs_that_lead_out(tmp_path: Path, shim: Path, name: str) -> None:
    commands = [*LOOK, *lines("rev-parse side", "branch -f side", "branch -D side"), *CHANGE]
    told = alike(tmp_path, shim, REFS[name], commands)
    assert told.outside == {}


@pytest.mark.parametrize(
    "name", ["../../../outside/new", "../../config", "a/../b", "..", "-x", "x.lock", "@{-1}", ".git", "a\\..\\b"]
)
def test_names_of_refs_that_are_asked_for(tmp_path: Path, shim: Path, name: str) -> None:
    commands = [
        ("branch", name),
        ("tag", name),
        ("tag", "-d", name),
        ("branch", "-D", name),
        ("checkout", "-q", "-b", name),
        ("switch", "-q", "-c", name),
        ("branch", "-f", name, "HEAD"),
        ("rev-parse", name),
        ("reflog", "show", name),
    ]
    told = alike(tmp_path, shim, lambda world: None, commands)
    assert told.outside == {}
