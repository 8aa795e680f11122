"""Backups of a store, restores of them to any position, and repair from them: what stands behind `Repository.backup`.

A backup is a set of parts (pieces of the store's append-only files, named by their SHA-256) and manifests, one for each
backup, that say which parts make up the store at which position. docs/design/010-backup.md describes both byte by byte.
"""
