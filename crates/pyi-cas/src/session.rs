//! What keeps objects that no ref reaches from being collected: sections for as long as an operation runs, pins for longer.

/// Work that relies on objects that nothing reaches yet is inside one.
#[derive(Debug)]
#[must_use = "the section ends when this is dropped"]
pub struct Section(());

/// Keeps an object, and what it reaches, from being collected as long as it lives.
#[derive(Debug)]
#[must_use = "the pin ends when this is dropped"]
pub struct Pin(());

impl Section {
    /// For stores that need none.
    pub(crate) fn none() -> Section {
        Section(())
    }
}

impl Pin {
    /// For stores that need none.
    pub(crate) fn none() -> Pin {
        Pin(())
    }
}
