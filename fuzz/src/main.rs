//! One program for all targets, as the counted build of the crates is what takes time: `PYI_FUZZ_TARGET` names the one to run.
//! Everything else is libFuzzer's: directories of inputs, `-max_total_time`, `-merge=1`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let run = TARGET.get_or_init(|| {
        let name = std::env::var("PYI_FUZZ_TARGET").unwrap_or_default();
        let found = pyi_fuzz::TARGETS.iter().find(|(target, _)| *target == name);
        match found {
            Some((_, run)) => *run,
            None => {
                let names: Vec<_> = pyi_fuzz::TARGETS.iter().map(|(target, _)| *target).collect();
                eprintln!("PYI_FUZZ_TARGET={name:?} is none of: {}", names.join(" "));
                std::process::exit(2);
            }
        }
    });
    run(data);
});
