"""The state: arrays that cost what changed in them, frames, pickles, and what is refused."""

from __future__ import annotations

import array
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pyi
from pyi.arrays import TrackedArray
from pyi.state import Pickled

np = pytest.importorskip("numpy")
CHUNK = 65_536


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[pyi.Repository]:
    with pyi.open(tmp_path / "store") as repo:
        yield repo


@pytest.fixture
def ws(repo: pyi.Repository) -> pyi.Workspace:
    return repo.workspace()


def grid(chunks: int = 40) -> Any:
    return np.random.default_rng(7).random(chunks * CHUNK // 8)


def grown(repo: pyi.Repository, ws: pyi.Workspace) -> int:
    before = repo.stats()["bytes_stored"]
    ws.checkpoint()
    return int(repo.stats()["bytes_stored"] - before)


def test_a_tracked_array_is_fetched_and_stored_piece_by_piece(tmp_path: Path) -> None:
    wanted = grid()
    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace()
        ws.state["grid"] = wanted
        first = ws.checkpoint()
    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace(at=first.id)
        view = ws.state.array("grid")
        assert view.chunks == (40, 0, 0)
        assert (view.shape, view.dtype, len(view)) == (wanted.shape, wanted.dtype, len(wanted))
        assert view[5] == wanted[5]
        assert view.chunks == (40, 1, 0)
        assert not ws.dirty
        view[3 * 8192 : 3 * 8192 + 4] = 1.0
        wanted[3 * 8192 : 3 * 8192 + 4] = 1.0
        assert view.chunks == (40, 2, 1)
        assert ws.dirty
        assert CHUNK < grown(repo, ws) < CHUNK + 8192
        assert not ws.dirty
        assert view.chunks == (40, 2, 0)
        assert (ws.state["grid"] == wanted).all()
        assert (np.asarray(view) == wanted).all()
        assert view.chunks == (40, 40, 0)
        # The same memory for everybody.
        assert ws.state.array("grid")[3 * 8192] == 1.0


def test_every_way_of_writing_is_noted(ws: pyi.Workspace) -> None:
    model = grid(20).reshape(10, -1)
    ws.state["grid"] = model
    view = ws.state.array("grid")
    assert isinstance(view, TrackedArray)
    mask = model > 0.99
    rows = np.array([1, -1, 4])

    def in_place(a: Any) -> None:
        a[2:4] += 1
        a[...] *= 2
        a -= 3

    def column(a: Any) -> None:
        a[:, 5] = np.arange(10)

    def backwards(a: Any) -> None:
        a[::-3, ::-7] = -1

    def element(a: Any) -> None:
        a[3, 4] = 17
        a[-1] = 5

    def masked(a: Any) -> None:
        a[mask] = 0.5

    def by_rows(a: Any) -> None:
        a[rows] = 6

    def by_pairs(a: Any) -> None:
        a[rows, rows * 2] = 8

    def mixed(a: Any) -> None:
        a[rows, ::2] = 9

    def out(a: Any) -> None:
        np.add(a[1], 1, out=a[2])
        np.multiply.at(a, (rows, 3), 2)
        np.cumsum(a, axis=1, out=a)

    def functions(a: Any) -> None:
        np.copyto(a[4:6], 2.5)
        np.putmask(a, mask, -1)
        a[7:8].fill(4)
        a[6].sort()

    def from_itself(a: Any) -> None:
        a[0:3] = a[1:4]

    for write in (
        in_place,
        column,
        backwards,
        element,
        masked,
        by_rows,
        by_pairs,
        mixed,
        out,
        functions,
        from_itself,
    ):
        write(model)
        write(view)
        ws.checkpoint()
        # What the checkpoint has, not what is in memory.
        assert (ws.fork().state["grid"] == model).all(), write.__name__
        assert not ws.dirty
    with view.writing(np.s_[2:3]) as part:
        part[0, 0] = 99
        ws.checkpoint()
        part[0, 1] = 98
        ws.checkpoint()
        assert ws.dirty, "it may be written to at any time"
        assert ws.fork().state["grid"][2, :2].tolist() == [99, 98]
    kept = part[0]
    del part
    kept[2] = 97
    ws.checkpoint()
    assert ws.fork().state["grid"][2, 2] == 97
    del kept
    ws.checkpoint()
    assert not ws.dirty


def test_what_is_written_costs_the_chunks_that_hold_it(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    ws.state["grid"] = grid(64).reshape(64, 8192)  # a row is a chunk
    ws.checkpoint()
    view = ws.state.array("grid")
    for write, chunks in (
        (lambda: view.__setitem__((slice(None, None, 8), 3), 0.0), 8),
        (lambda: view.__setitem__([5, -1], [[1.0], [2.0]]), 2),
        (lambda: view.__setitem__((np.arange(64) % 16 == 1, 7), 2.0), 4),
        (lambda: view.__setitem__((slice(2, 4), slice(8190, None)), 3.0), 2),
        (lambda: np.add(view[9], 1, out=view[9]), 1),
    ):
        write()
        assert view.chunks[2] == chunks
        assert chunks * CHUNK < grown(repo, ws) < chunks * CHUNK + 12_000
    view[3] = np.asarray(view[3])
    assert view.chunks[2] == 1
    assert grown(repo, ws) < 2000, "touched, and as it was"


def test_no_write_goes_by_unnoticed(ws: pyi.Workspace) -> None:
    ws.state["grid"] = grid()
    view = ws.state.array("grid")
    for plain in (np.asarray(view), view.reshape(-1, 2), view.T, view[np.array([True, False] * (len(view) // 2))][:0]):
        if plain.size:
            assert not plain.flags.writeable
            with pytest.raises(ValueError):
                plain.flags.writeable = True
    with pytest.raises(ValueError):
        view.partition(3)
    assert not hasattr(view, "__array_interface__")
    with pytest.raises(IndexError):
        view[len(view)] = 1
    with pytest.raises(IndexError):
        view[[len(view)]] = 1
    with pytest.raises(ValueError):
        view[:3] = [1, 2]
    assert (ws.state["grid"] == grid()).all()


def test_it_computes_as_an_array_does(ws: pyi.Workspace) -> None:
    model = np.arange(24, dtype="i4").reshape(2, 3, 4)
    ws.state["a"] = model
    view = ws.state.array("a")
    assert (view + 1 == model + 1).all()
    assert (1 - view).tolist() == (1 - model).tolist()
    assert view.sum() == model.sum()
    assert np.mean(view) == model.mean()
    assert np.concatenate([view, model]).shape == (4, 3, 4)
    assert np.array(view, dtype="f8").dtype == "f8"
    assert view[1, 2, 3] == 23
    assert view[..., 0].tolist() == model[..., 0].tolist()
    assert view[:, None].shape == (2, 1, 3, 4)
    assert [row.tolist() for row in view] == model.tolist()
    assert 23 in view
    assert int(view[1:, 2:, 3:].reshape(())) == 23
    assert repr(view[0, 0]).startswith("<TrackedArray array([0, 1, 2, 3]")
    assert (pickle.loads(pickle.dumps(view)) == model).all()
    for dtype in ("?", "u1", "f4", "c16", "M8[s]", "U3", "S5"):
        ws.state["b"] = np.zeros(5, dtype)
        other = ws.state.array("b")
        other[1:3] = np.ones(2, "i8").astype(dtype)
        assert (ws.state["b"] == np.asarray(other)).all()
        assert ws.state["b"].dtype == np.dtype(dtype)
    for shape in ((), (0, 3), (1,)):
        ws.state["c"] = np.zeros(shape)
        other = ws.state.array("c")
        other[...] = 4
        assert ws.state["c"].tolist() == np.full(shape, 4.0).tolist()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_writes_are_those_of_numpy(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(40_000,), (100, 700), (3, 50, 200), (9000, 2, 3)]))
    with pyi.open("unused", durability="memory") as repo:
        ws = repo.workspace()
        model = np.arange(np.prod(shape), dtype="f8").reshape(shape)
        ws.state["a"] = model
        view = ws.state.array("a")
        for number in range(data.draw(st.integers(1, 4))):
            index = data.draw(
                st.one_of(
                    hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True),
                    hnp.integer_array_indices(shape),
                    st.just(model % 977 == number),
                )
            )
            model[index] = -number
            view[index] = -number
            if data.draw(st.booleans()):
                ws.checkpoint()
        assert (ws.fork().state["a"] == model).all()


def test_forks_and_restores_do_not_see_later_writes(ws: pyi.Workspace) -> None:
    ws.state["grid"] = grid()
    view = ws.state.array("grid")
    view[0] = 1
    first = ws.checkpoint()
    fork = ws.fork()
    view[0] = 2
    theirs = fork.state.array("grid")
    theirs[1] = 3
    assert (theirs[0], fork.state["grid"][0]) == (1, 1)
    assert ws.state["grid"][0] == 2
    ws.restore(first)
    assert ws.state["grid"][0] == 1
    assert view[0] == 2, "what was there can still be read"
    for write in (lambda: view.fill(0), lambda: view.__setitem__(0, 5), lambda: view.__setitem__([0], 5)):
        with pytest.raises(pyi.Conflict, match=r"ws\.state\.array"):
            write()
    assert ws.state.array("grid")[0] == 1
    view = ws.state.array("grid")
    del ws.state["grid"]
    with pytest.raises(pyi.Conflict):
        view += 1
    with pytest.raises(pyi.NotFound):
        ws.state.array("grid")


def test_an_adopted_array_is_tracked_and_read_only_itself(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    model = grid()
    given_away = model.copy()
    view = ws.state.adopt("grid", given_away)
    assert not given_away.flags.writeable
    assert grown(repo, ws) < 10_000, "it was stored when it was adopted"
    view[10_000] = 5
    model[10_000] = 5
    assert given_away[10_000] == 5, "the same memory"
    del given_away
    assert CHUNK < grown(repo, ws) < CHUNK + 10_000
    assert (ws.fork().state["grid"] == model).all()
    with pytest.raises(pyi.InvalidArgument):
        ws.state.adopt("x", model[::2])
    with pytest.raises(pyi.InvalidArgument):
        ws.state.adopt("x", [1.0])  # type: ignore[arg-type]
    with pytest.raises(pyi.InvalidArgument):
        ws.state.adopt("x", np.array([object()]))


def test_a_plain_assignment_stores_what_changed(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    model = grid(100)
    ws.state["grid"] = model
    assert grown(repo, ws) < 12_000, "large arrays are stored when they are assigned"
    for places in ([7], range(0, 100, 10)):
        before = repo.stats()["bytes_stored"]
        for place in places:
            model[place * 8192] += 1
        ws.state["grid"] = model
        ws.checkpoint()
        change = repo.stats()["bytes_stored"] - before
        assert len(places) * CHUNK < change < len(places) * CHUNK + 12_000
        assert (ws.state["grid"] == model).all()
    ws.state["grid"] = model.view("i8").reshape(100, -1)
    found = ws.state["grid"]
    assert (found.dtype, found.shape) == (np.dtype("i8"), (100, 8192))


def test_buffers_are_cut_into_chunks(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    large = bytearray(np.random.default_rng(1).bytes(20 * CHUNK + 5))
    for value in (bytes(large), large, memoryview(large), memoryview(large).cast("B")[::2], bytearray(b"small")):
        ws.state["b"] = value
        ws.checkpoint()
        assert ws.state["b"] == bytes(value)
        assert type(ws.state["b"]) is bytes
    ws.state["b"] = large
    ws.checkpoint()
    large[9 * CHUNK] ^= 1
    ws.state["b"] = bytes(large)
    assert CHUNK < grown(repo, ws) < CHUNK + 3000
    with pytest.raises(pyi.InvalidArgument, match="holds no array but bytes"):
        ws.state.array("b")
    for code in "bBhHiIlLqQfd":
        ws.state["a"] = array.array(code, [1, 2, 3])
        found = ws.state["a"]
        assert (found.dtype, found.tolist()) == (np.dtype(code), [1, 2, 3])
    ws.state["m"] = memoryview(np.arange(6.0).reshape(2, 3))
    assert ws.state["m"] == np.arange(6.0).tobytes()


def test_a_dict_keeps_the_order_of_its_keys(ws: pyi.Workspace) -> None:
    value = {"zz": 1, "a": {"y": 1, "x": [{"q": 1, "p": 2}]}, "m": None}
    ws.state["d"] = value
    ws.state["o"] = OrderedDict(b=1, a=2)
    ws.journal.append("e", zz=1, a={"y": 1, "x": 2})
    ws.checkpoint()
    assert str(ws.state["d"]) == str(value)
    assert list(ws.state["o"]) == ["b", "a"]
    assert str(ws.journal[0].data) == "{'zz': 1, 'a': {'y': 1, 'x': 2}}"


PLAIN = (
    st.none()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)


@given(
    st.recursive(
        PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", max_size=4), inner), max_leaves=20
    )
)
@settings(max_examples=150, deadline=None)
def test_values_come_back_as_they_are(value: Any) -> None:
    with pyi.open("unused", durability="memory") as repo:
        ws = repo.workspace()
        ws.state["v"] = value
        assert repr(ws.state["v"]) == repr(value)


def test_what_is_refused_says_so(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    lone = "\ud800"
    for bad in (
        lone,
        {lone: 1},
        ["a", lone],
        object(),
        date(2026, 11, 22),
        {1: 2},
        {"a": {3}},
        np.array([{}]),
        [np.zeros(3)],
    ):
        with pytest.raises(pyi.InvalidArgument):
            ws.state["k"] = bad
    with pytest.raises(pyi.InvalidArgument):
        ws.state[lone] = 1
    with pytest.raises(pyi.InvalidArgument):
        ws.state[""] = 1
    assert lone not in ws.state
    with pytest.raises(pyi.NotFound):
        del ws.state[lone]
    for append in (lambda: ws.journal.append(lone), lambda: ws.journal.append("a", b=lone)):
        with pytest.raises(pyi.InvalidArgument):
            append()
    with pytest.raises(pyi.InvalidArgument):
        ws.checkpoint(lone)
    nested: list[Any] = []
    nested.append(nested)
    with pytest.raises(pyi.InvalidArgument):
        ws.state["k"] = nested
    ws.write("f", "x")
    for call in (
        lambda: ws.read("f", offset=-1),
        lambda: ws.read("f", size=-1),
        lambda: ws.read("f", offset=2**70),
        lambda: list(ws.log(-1)),
        lambda: ws.head.read("f", offset=-1),
        lambda: repo.gc(budget_bytes=-1),
        lambda: repo.history(-1),
        lambda: repo.undo(-1),
        lambda: repo.checkpoint_many([ws], lone),
    ):
        with pytest.raises(pyi.InvalidArgument):
            call()
    assert ws.read("f", offset=2**64 - 1) == b""
    assert len(ws.state) == 0
    assert len(ws.journal) == 0


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("reading ran a pickle",))


def test_pickles_are_made_and_run_only_on_request(ws: pyi.Workspace) -> None:
    with pytest.raises(pyi.InvalidArgument, match="pickle"):
        ws.state["p"] = {1, 2}
    ws.state.pickle("p", {1, 2})
    ws.state.pickle("large", list(range(100_000)))
    ws.state.pickle("bomb", Bomb())
    ws.checkpoint()
    assert ws.state.unpickle("p") == {1, 2}
    assert ws.state.unpickle("large")[-1] == 99_999
    found = ws.state["bomb"]
    assert isinstance(found, Pickled)
    assert isinstance(found, bytes)
    ws.state["copy"] = ws.state["p"]
    assert ws.state.unpickle("copy") == {1, 2}
    ws.state["bytes"] = bytes(found)
    for key in ("bytes",):
        with pytest.raises(pyi.InvalidArgument, match="holds no pickle"):
            ws.state.unpickle(key)
    with pytest.raises(pyi.NotFound):
        ws.state.unpickle("nothing")
    with pytest.raises(pyi.InvalidArgument, match="cannot be pickled"):
        ws.state.pickle("x", lambda: 1)


def test_data_frames_come_back_as_tables(repo: pyi.Repository, ws: pyi.Workspace) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"time": list(range(100_000)), "price": np.random.default_rng(2).random(100_000)})
    ws.state["prices"] = table
    ws.state["batch"] = table.to_batches()[0]
    ws.checkpoint()
    assert ws.state["prices"].equals(table)
    assert ws.state["batch"].equals(table)
    longer = pa.concat_tables([table, table.slice(0, 5000)])
    before = repo.stats()["bytes_stored"]
    ws.state["prices"] = longer
    ws.checkpoint()
    assert repo.stats()["bytes_stored"] - before < 6 * CHUNK, "what did not change is shared"
    assert ws.state["prices"].equals(longer)
    with pytest.raises(pyi.InvalidArgument, match="holds no array but arrow"):
        ws.state.array("prices")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pandas.Index(["r", "s"], name="row"))
    ws.state["frame"] = frame
    pandas.testing.assert_frame_equal(ws.state["frame"].to_pandas(), frame)


def test_contents_are_shared_with_objects_that_never_change(ws: pyi.Workspace) -> None:
    data, text = b"x" * 1_000_000, "é" * 500_000
    ws.write_many({"bytes": data, "text": text})
    ws.write("view", memoryview(data)[1:])
    del data, text
    found = ws.read("bytes")
    assert isinstance(found, memoryview)
    assert found.readonly
    assert bytes(found) == b"x" * 1_000_000
    assert bytes(ws.read("text")) == "é".encode() * 500_000
    assert len(ws.read("view")) == 999_999
    changing = bytearray(b"y" * 100_000)
    ws.write("changing", changing)
    changing[0] = 0
    assert bytes(ws.read("changing")) == b"y" * 100_000


def test_a_masked_array_is_refused(repo: pyi.Repository) -> None:
    """It was stored without its mask, and what had been masked came back as numbers."""
    ws = repo.workspace()
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    for store in (lambda: ws.state.__setitem__("k", masked), lambda: ws.state.adopt("k", masked)):
        with pytest.raises(pyi.InvalidArgument, match="mask"):
            store()
    assert "k" not in ws.state
    ws.state["k"] = masked.data
    assert ws.state["k"].tolist() == [1.0, 2.0]
