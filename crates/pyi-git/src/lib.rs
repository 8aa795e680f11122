//! Git's formats and language: objects, packs, index, ignore rules. No IO.
