"""Small data structures and text helpers."""
