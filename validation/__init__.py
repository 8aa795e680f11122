"""The laboratory: every claim is a hypothesis, an experiment measures it, peers run beside it in the same run.

    python -m validation [EXPERIMENT...] [--quick] [--json FILE] [--list] [--repo PATH]...

`hypothesis` says what a claim and a finding are, `statistics` how samples are taken and summed up, `experiments` holds
one module per noun, `peers` one per thing to compare with. A new experiment is a new module in `experiments` and
nothing else. This package imports `pyi`; nothing but its tests imports it.
"""
