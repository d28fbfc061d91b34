//! The argument of `PR_SET_MM_MAP(2const)`, which publishes a layout. Computes bytes; calls nothing.

use alloc::vec::Vec;

use uexec_core::MmFields;
use uexec_core::abi::PAGE;

/// The argument of `PR_SET_MM_MAP(2const)`.
pub(crate) fn mm_map(mm: &MmFields, auxv: u64, auxv_size: u32, exe_fd: u32) -> Vec<u8> {
    let words = [
        mm.start_code,
        mm.end_code,
        mm.start_data,
        mm.end_data,
        mm.start_brk,
        mm.brk,
        mm.start_stack,
        mm.arg_start,
        mm.arg_end,
        mm.env_start,
        mm.env_end,
        auxv,
    ];
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    bytes.extend(auxv_size.to_le_bytes());
    bytes.extend(exe_fd.to_le_bytes());
    bytes
}

/// The fields as `PR_SET_MM_MAP` accepts them (STK-42), and whether they had to be changed.
pub(crate) fn acceptable(mm: MmFields, task_size: u64) -> (MmFields, bool) {
    // Every vm.mmap_min_addr in use is at most this.
    const LOW: u64 = 65_536;
    let clamp = |x: u64| x.clamp(LOW, task_size - PAGE);
    let mut ok = MmFields {
        start_code: clamp(mm.start_code),
        end_code: clamp(mm.end_code),
        start_data: clamp(mm.start_data),
        end_data: clamp(mm.end_data),
        start_brk: clamp(mm.start_brk),
        brk: clamp(mm.brk),
        ..mm
    };
    if ok.start_code >= ok.end_code {
        ok.start_code = ok.end_code.min(task_size - 2 * PAGE);
        ok.end_code = ok.start_code + 1;
    }
    ok.end_data = ok.end_data.max(ok.start_data);
    (ok, ok != mm)
}
