"""A plate that is heated at random places: the heat equation, step by step, in a session.

python examples/heat/heat.py STORE [--steps 2000] [--size 48]

Kill it whenever you like and run it again: the last line is the same as without a kill.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

import pyi

Field = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

DIFFUSION = 0.2
"""Thermal diffusivity times the time of a step over the square of a cell; the scheme is stable below 0.25."""
MEASURE_EVERY = 50


def step_of(field: Field) -> Field:
    """Return the field one step later: each cell goes towards the mean of its neighbours; the border stays cold."""
    after = field.copy()
    inner = field[1:-1, 1:-1]
    around = field[:-2, 1:-1] + field[2:, 1:-1] + field[1:-1, :-2] + field[1:-1, 2:]
    after[1:-1, 1:-1] = inner + DIFFUSION * (around - 4.0 * inner)
    return after


def simulate(session: pyi.Session, rng: np.random.Generator, steps: int, size: int) -> None:
    """Heat one cell in each step, and let the heat spread. Everything that lasts is in the session."""
    session.state["field"] = np.zeros((size, size))
    for step in session.steps(range(steps)):
        field: Field = session.state["field"]
        row, column = rng.integers(1, size - 1, 2)
        field[row, column] += 100.0 * rng.random()
        field = step_of(field)
        session.state["field"] = field
        if (step + 1) % MEASURE_EVERY == 0:
            session.workspace.write(f"profile/{step + 1:06}.bin", field[size // 2].tobytes())
            session.journal.append("measured", step=step + 1, mean=float(field.mean()), hottest=float(field.max()))


def digest(session: pyi.Session) -> str:
    """Return a hash of everything that the simulation left."""
    found = hashlib.sha256(session.state["field"].tobytes())
    for entry in session.workspace.walk():
        found.update(entry.path.encode() + session.workspace.read(entry.path))
    for event in session.journal:
        found.update(f"{event.kind} {event.data}".encode())
    return found.hexdigest()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Heat a plate in a session that survives kill -9.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--every", type=int, help="steps between checkpoints (default: 1)")
    options = parser.parse_args()
    rng = np.random.Generator(np.random.Philox(20261122))
    with pyi.session(options.store, "heat", every=options.every, generators={"sources": rng}) as session:
        print(f"from step {session.done}", flush=True)
        simulate(session, rng, options.steps, options.size)
        print(f"{digest(session)} {session.done} steps, resumed {session.report.resumes} times", flush=True)


if __name__ == "__main__":
    main()
