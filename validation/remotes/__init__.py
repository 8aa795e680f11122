"""Many clients, hostile ones and other ones at a server of git remotes: `python -m validation.remotes RECIPE`."""
