"""One module per noun; each offers `EXPERIMENT`. Whatever stands here is found: there is no list to add to."""

from __future__ import annotations

import importlib
import pkgutil

from validation.hypothesis import Experiment

__all__ = ["load"]


def load() -> dict[str, Experiment]:
    """Return all experiments by name, in the order of their names.

    Raises:
        ValueError: Two experiments have one name, or two hypotheses one id.
    """
    found: dict[str, Experiment] = {}
    ids: set[str] = set()
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        experiment = importlib.import_module(f"{__name__}.{info.name}").EXPERIMENT
        if not isinstance(experiment, Experiment):
            raise TypeError(f"{info.name}.EXPERIMENT is not an Experiment")
        if experiment.name in found:
            raise ValueError(f"two experiments are called {experiment.name}")
        for hypothesis in experiment.hypotheses:
            if hypothesis.id in ids:
                raise ValueError(f"two hypotheses are called {hypothesis.id}")
            ids.add(hypothesis.id)
        found[experiment.name] = experiment
    return found
