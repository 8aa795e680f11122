"""An agent which repairs a Python project by searching through mutants.

It works in the current directory.  It runs the project's unittest suite, finds
the lines which failing tests execute more than passing ones do, and tries
mutants of the statements there until all tests pass or its budget is spent.
What it draws depends on PYI_SEED alone: each candidate of a race explores
another part of the same space.

    PYI_SEED       the seed of the draw (0)
    REPAIR_TRIES   how many mutants to test (25)
"""

from __future__ import annotations

import ast
import itertools
import math
import os
import random
import sys
import types
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # started as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = Path(__file__).resolve().parent.name

from .mutations import mutants
from .source import Edit, Source
from .trial import Line, Outcome, Suite

DEFAULT_TRIES = 25


@dataclass(frozen=True)
class Mutant:
    """A changed file, ready to run."""

    source: Source
    line: int
    kind: str
    data: bytes
    code: types.CodeType

    def __str__(self) -> str:
        return f"{self.source.path.name}:{self.line} ({self.kind})"


def find_sources(root: Path) -> list[Path]:
    """The project's modules: packages and files of ``root``, without its tests."""
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if any(part.startswith((".", "test")) for part in parts):
            continue
        if len(parts) == 1 or (root / parts[0] / "__init__.py").exists():
            found.append(path)
    return found


def suspicion(survey: Outcome) -> dict[Line, float]:
    """Ochiai: how much more failing than passing tests execute each line."""
    failing = Counter(line for name in survey.failed for line in survey.lines.get(name, ()))
    passing = Counter(line for name in survey.passed for line in survey.lines.get(name, ()))
    count = len(survey.failed)
    return {
        (path, number): hits / math.sqrt(count * (hits + passing[path, number]))
        for (path, number), hits in failing.items()
    }


def rank(sources: Sequence[Source], scores: dict[Line, float]) -> tuple[list[tuple[Source, ast.stmt]], list[float]]:
    """The suspicious statements and their weights."""
    statements, weights = [], []
    for source in sources:
        for statement in source.places:
            lines = source.header_lines(statement)
            weight = max(scores.get((str(source.path), n), 0.0) for n in lines)
            if weight > 0:
                statements.append((source, statement))
                weights.append(weight)
    return statements, weights


def draw(sources: Sequence[Source], scores: dict[Line, float], rng: random.Random) -> Iterator[Mutant]:
    """Mutants in random order, never the same one twice.

    A statement is drawn by its suspicion, then an operator which applies to it,
    then one of the operator's edits.
    """
    statements, weights = rank(sources, scores)
    if not statements:
        return
    spaces: dict[ast.stmt, dict[str, list[Edit]]] = {}
    drawn = {(source.path, source.data) for source in sources}
    while any(weights):
        chosen = rng.choices(range(len(statements)), weights)[0]
        source, statement = statements[chosen]
        if statement not in spaces:
            spaces[statement] = mutants(source, statement, sources)
        space = spaces[statement]
        if not space:
            weights[chosen] = 0.0
            continue
        kind = rng.choice(list(space))
        edit = space[kind].pop(rng.randrange(len(space[kind])))
        if not space[kind]:
            del space[kind]
        data = source.apply(edit)
        if (source.path, data) in drawn:
            continue
        drawn.add((source.path, data))
        try:
            tree = ast.parse(data)
            code = compile(tree, str(source.path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        if ast.dump(tree) != ast.dump(source.tree):
            yield Mutant(source, statement.lineno, kind, data, code)


def search(root: Path, seed: int, tries: int) -> str:
    """Repair the project in ``root`` as well as can be; say what was done."""
    paths = find_sources(root)
    suite = Suite(root, paths)
    survey = suite.survey()
    if not survey.failed:
        return "no test fails" if survey.passed else "no test could be run"
    scores = suspicion(survey)
    sources = [Source(path) for path in paths]
    fewest = len(survey.failed)
    best: Mutant | None = None
    tested = 0
    for mutant in itertools.islice(draw(sources, scores, random.Random(seed)), tries):
        tested += 1
        changed = {str(mutant.source.path): mutant.code}
        outcome = suite.run(changed, survey.failed, fewest)
        if outcome.complete and len(outcome.failed) < fewest:
            fewest = len(outcome.failed)
            best = mutant
            if fewest == 0:
                break
    if best is None:
        return f"nothing gained by {tested} mutants"
    best.source.path.write_bytes(best.data)
    if fewest == 0:
        return f"repaired {best} with mutant {tested}"
    return f"{best} leaves {fewest} of {len(survey.failed)} failures, {tested} mutants"


def main() -> int:
    """Search in the current directory."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    seed = int(os.environ.get("PYI_SEED", "0"))
    tries = int(os.environ.get("REPAIR_TRIES", str(DEFAULT_TRIES)))
    print(search(Path.cwd().resolve(), seed, tries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
