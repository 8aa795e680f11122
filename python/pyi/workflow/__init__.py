"""The jobs: a race of candidates for one task, a swarm of agents on one repository."""
