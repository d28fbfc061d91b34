//! Functions with a list of arguments, which Rust can only call, not be: a few instructions put the
//! list in order and hand it on as an array. Decides nothing.

/// Defines, with these attributes, the C function `$name(const char *, const char *, …)`, which calls `$with` with its
/// first argument and an array of all others; what follows the array is the caller's stack, so that
/// `$with` has to stop where the list ends.
///
/// By the x86-64 ABI five of the others come in registers and the rest lies above the return
/// address. With the registers pushed in its place all are in a row.
#[macro_export]
macro_rules! variadic {
    ($(#[$meta:meta])* $name:ident => $with:path) => {
        $(#[$meta])*
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name(
            _path: *const core::ffi::c_char,
            _arg: *const core::ffi::c_char,
        ) -> core::ffi::c_int {
            core::arch::naked_asm!(
                "pop rax", // where to return to
                "push r9", // the fifth of the others
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi", // the first
                "mov rsi, rsp",
                "push rax", // aligns the stack as well
                "call {with}",
                "pop rcx",
                "add rsp, 40",
                "push rcx",
                "ret",
                with = sym $with,
            )
        }
    };
}
