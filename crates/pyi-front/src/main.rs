//! The native `pyi` command.
fn main() {}
