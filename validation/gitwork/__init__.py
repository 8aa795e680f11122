"""Git's commands on workspaces, beside the installed git: `python -m validation.gitwork RECIPE`."""
