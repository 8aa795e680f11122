"""Checks and helpers of the house: what `make` calls. None of it is installed."""
