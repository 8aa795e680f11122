"""Repositories as git remotes: addresses, and what is at them. Transport is `pyi.server`'s."""
