//! Any bytes as a core.

#![no_main]

use libfuzzer_sys::fuzz_target;
use uexec_core::coredump::{Core, fault};

fuzz_target!(|data: &[u8]| {
    let mut source = data;
    if let Ok(core) = Core::read(&mut source) {
        let _ = fault::of(&core);
        for load in core.loads.iter().take(64) {
            let _ = fault::name(&core, load);
            let mut buf = [0; 64];
            let _ = core.memory(&mut source, load.start, &mut buf);
        }
    }
});
