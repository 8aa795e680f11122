"""What is measured beside `pyi`: one module per peer. A peer that is not installed is reported, never guessed."""
