"""Random histories of edits, forks, checkpoints, restores, merges and reopenings against plain dictionaries."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

import pyi

Model = dict[str, bytes]

# Few names, so that files and directories get into each other's way.
NAMES = st.sampled_from(["a", "b", "c", "d" * 40])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENTS = st.binary(max_size=30)


def below(model: Model, path: str) -> list[str]:
    return [other for other in model if other.startswith(path + "/")]


def files_of(found: pyi.Workspace | pyi.Checkpoint) -> Model:
    return {entry.path: bytes(found.read(entry.path)) for entry in found.walk()}


class Histories(RuleBasedStateMachine):
    workspaces = Bundle("workspaces")
    checkpoints = Bundle("checkpoints")

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="pyi-model-"))
        self.repo = pyi.open(self.place)
        self.names = 0
        # Every workspace: handle, its model, and the model at its head.
        self.live: dict[str, tuple[pyi.Workspace, Model, Model]] = {}
        self.saved: dict[str, Model] = {}

    def teardown(self) -> None:
        self.repo.close()
        shutil.rmtree(self.place)

    def name(self) -> str:
        self.names += 1
        return f"w{self.names}"

    @initialize(target=workspaces)
    def first(self) -> str:
        name = self.name()
        self.live[name] = (self.repo.workspace().fork(name), {}, {})
        return name

    @rule(key=workspaces, path=PATHS, content=CONTENTS)
    def write(self, key: str, path: str, content: bytes) -> None:
        ws, model, _ = self.live[key]
        parents = [path[:at] for at in range(len(path)) if path[at] == "/"]
        # An empty directory may stand at the path too; the model knows files alone.
        possible = not any(parent in model for parent in parents) and not below(model, path)
        try:
            ws.write(path, content)
        except pyi.InvalidPath:
            assert not possible or ws.stat(path).kind == "dir"
        else:
            assert possible
            model[path] = content

    @rule(key=workspaces, path=PATHS)
    def remove(self, key: str, path: str) -> None:
        ws, model, _ = self.live[key]
        gone = below(model, path) + ([path] if path in model else [])
        try:
            ws.remove(path)
        except pyi.NotFound:
            assert not gone
        for file in gone:
            del model[file]

    @rule(key=workspaces, old=PATHS, new=PATHS)
    def move(self, key: str, old: str, new: str) -> None:
        ws, model, _ = self.live[key]
        try:
            ws.move(old, new)
        except (pyi.NotFound, pyi.InvalidPath):
            return
        moved = {new + path[len(old) :]: model.pop(path) for path in [*below(model, old), old] if path in model}
        model.update(moved)

    @rule(target=checkpoints, key=workspaces)
    def checkpoint(self, key: str) -> str:
        ws, model, _ = self.live[key]
        ws.state["files"] = sorted(model)
        checkpoint = ws.checkpoint(key)
        self.saved[checkpoint.id] = dict(model)
        self.live[key] = (ws, model, dict(model))
        return checkpoint.id

    @rule(key=workspaces, id=checkpoints)
    def restore(self, key: str, id: str) -> None:
        ws, _, _ = self.live[key]
        ws.restore(id)
        self.live[key] = (ws, dict(self.saved[id]), dict(self.saved[id]))

    @rule(target=workspaces, key=workspaces)
    def fork(self, key: str) -> Any:
        if len(self.live) >= 5:
            return multiple()
        ws, model, head = self.live[key]
        name = self.name()
        self.live[name] = (ws.fork(name), dict(model), dict(head))
        return name

    @rule(ours=workspaces, theirs=workspaces)
    def merge(self, ours: str, theirs: str) -> None:
        ws, model, head = self.live[ours]
        other, their_model, _ = self.live[theirs]
        before = dict(model)
        if ws.merge(other):
            # Whatever the base was: a path that both sides have alike stays so, and nothing comes from nowhere.
            after = files_of(ws)
            for path in model.keys() & their_model.keys():
                if model[path] == their_model[path]:
                    assert after[path] == model[path]
            assert after.keys() <= model.keys() | their_model.keys()
            self.live[ours] = (ws, after, head)
        else:
            assert files_of(ws) == before

    @rule()
    def reopen(self) -> None:
        """What was not checkpointed is gone; everything else is there."""
        self.repo.close()
        self.repo = pyi.open(self.place, create=False)
        for name, (_, _, head) in self.live.items():
            self.live[name] = (self.repo.open_workspace(name), dict(head), head)

    @invariant()
    def agree(self) -> None:
        for ws, model, head in self.live.values():
            assert files_of(ws) == model
            assert len(ws) == len(model)
            changed = {change.path for change in ws.diff() if (change.new or change.old).kind != "dir"}  # type: ignore[union-attr]
            assert changed == {path for path in model.keys() | head.keys() if model.get(path) != head.get(path)}

    @rule(id=checkpoints)
    def look_back(self, id: str) -> None:
        checkpoint = self.repo.get_checkpoint(id)
        assert files_of(checkpoint) == self.saved[id]
        assert self.repo.workspace(at=id).state["files"] == sorted(self.saved[id])


Histories.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestHistories = Histories.TestCase
