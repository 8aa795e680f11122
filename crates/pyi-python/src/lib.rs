//! Thin PyO3 bindings of the engine. Every function converts its arguments, does its work with the GIL released (or is a matter of a
//! microsecond), converts the result; `errors` maps every error in one place. The stub is `python/pyi/_native.pyi`.

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

use pyo3::prelude::*;

mod allocator;
mod array;
mod checkpoint;
mod convert;
mod entry;
mod errors;
mod generator;
mod git;
mod journal;
mod maintenance;
mod remote;
mod repository;
mod retention;
mod session;
mod state;
mod superposition;
mod workspace;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(repository::open, module)?)?;
    module.add_function(wrap_pyfunction!(maintenance::log_positions_in, module)?)?;
    module.add_function(wrap_pyfunction!(maintenance::assemble_store, module)?)?;
    module.add_class::<repository::Repository>()?;
    module.add_class::<maintenance::StoreImage>()?;
    module.add_class::<maintenance::ScrubCore>()?;
    module.add_class::<remote::GitServer>()?;
    module.add_class::<remote::GitRemote>()?;
    module.add_class::<remote::Push>()?;
    module.add_class::<remote::UploadAnswer>()?;
    module.add_class::<workspace::Workspace>()?;
    module.add_class::<checkpoint::Checkpoint>()?;
    module.add_class::<checkpoint::Walk>()?;
    module.add_class::<checkpoint::Log>()?;
    module.add_class::<entry::Entry>()?;
    module.add_class::<git::GitResult>()?;
    module.add_class::<entry::Change>()?;
    module.add_class::<entry::MergeConflict>()?;
    module.add_class::<entry::MergeResult>()?;
    module.add_class::<entry::Event>()?;
    module.add_class::<journal::Journal>()?;
    module.add_class::<journal::JournalAt>()?;
    module.add_class::<journal::JournalIterator>()?;
    module.add_class::<session::SessionCore>()?;
    module.add_class::<generator::GeneratorView>()?;
    module.add_class::<state::StateCore>()?;
    module.add_class::<array::ArrayCore>()?;
    module.add_class::<array::ArrayMemory>()?;
    module.add_class::<array::StoredArray>()?;
    module.add_class::<superposition::Superposition>()?;
    module.add_class::<retention::Retention>()?;
    module.add_class::<retention::GcReport>()?;
    module.add_class::<retention::Operation>()?;
    module.add_class::<retention::RefMove>()?;
    Ok(())
}
