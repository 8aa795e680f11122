//! Links libgcc_s (the unwinder) into the program: one shared library less for the loader at every start.
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    // What the linker is told is no source that Cargo knows of.
    for file in ["rustc.sh", "link.sh", "first_functions.txt"] {
        println!("cargo:rerun-if-changed=../../tools/{file}");
    }
    if env::var("CARGO_CFG_TARGET_OS")? == "linux" && env::var("CARGO_CFG_TARGET_ENV")? == "gnu" {
        let directory = PathBuf::from(env::var("OUT_DIR")?);
        // The linker finds this script where it looks for libgcc_s.so, and takes the static library that it names.
        fs::write(directory.join("libgcc_s.so"), "INPUT(-l:libgcc_eh.a)\n")?;
        println!("cargo:rustc-link-arg-bins=-L{}", directory.display());
    }
    Ok(())
}
