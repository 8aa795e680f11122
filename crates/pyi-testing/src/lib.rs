//! Generators, model store and simulated disk for tests.
