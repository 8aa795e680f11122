"""Recipes that run for minutes to days and try to make a store lose something: `python -m validation.endurance`.

Their findings are counts that have to be zero and figures to look at; docs/guides/endurance.md says how to run them.
"""
