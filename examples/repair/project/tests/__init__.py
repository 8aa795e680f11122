"""Tests of pocket."""
