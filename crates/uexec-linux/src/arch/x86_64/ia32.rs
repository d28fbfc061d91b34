//! i386 from a 64-bit process: its system calls, and the frame that sets its registers. Decides
//! nothing.

use core::arch::asm;

use super::Frame;

/// Numbers of i386 system calls (`arch/x86/entry/syscalls/syscall_32.tbl`).
pub(crate) mod nr32 {
    pub(crate) const MUNMAP: u64 = 91;
    pub(crate) const MMAP2: u64 = 192;
}

/// Makes an i386 system call with five arguments; the sixth is whatever `ebp` holds. Where the
/// kernel has no IA32 emulation the instruction faults.
///
/// # Safety
/// As for [`super::syscall6`].
pub(crate) unsafe fn int80(nr: u64, args: [u64; 5]) -> i64 {
    let ret: i64;
    // SAFETY: rbx, which may not be named as an operand, is put back; older kernels clear r8 to
    // r11, which are declared; the push is below the red zone as there is none with a stack in use
    // (`nostack` is not given). The rest is the caller's promise.
    unsafe {
        asm!(
            "xchg rbx, {b}",
            "int 0x80",
            "xchg rbx, {b}",
            b = inout(reg) args[0] => _,
            inlateout("rax") nr => ret,
            in("rcx") args[1],
            in("rdx") args[2],
            in("rsi") args[3],
            in("rdi") args[4],
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    i64::from(ret as i32)
}

/// Code and data selectors of an i386 task (`arch/x86/include/asm/segment.h`).
const CS32: u16 = 0x23;
pub(crate) const DS32: u16 = 0x2b;

impl Frame {
    /// Goes on at `eip` in 32-bit mode with everything blocked, `eax`, `ebx` and `ecx` set for a
    /// call. Data segments stay as they are.
    pub(crate) fn ia32(eip: u64, esp: u64, call: [u64; 3], sigmask: u64) -> Frame {
        let [eax, ebx, ecx] = call;
        Frame {
            cs: CS32,
            rcx: ecx,
            rbp_rbx_rdx: [0, ebx, 0],
            ..Frame::new(eip, esp, 0, [eax, 0, 0], sigmask)
        }
    }
}

/// What the i386 `rt_sigreturn` reads: sets all registers at once, resets FPU and vector state,
/// sets the signal mask and removes the alternate stack. Layout: `struct rt_sigframe_ia32`,
/// `arch/x86/include/asm/sigframe.h`, 6.18.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Frame32 {
    ret_sig_info_uc: [u32; 4],
    siginfo: [u32; 32],
    uc_flags: u32,
    uc_link: u32,
    ss_sp: u32,
    ss_flags: u32,
    ss_size: u32,
    gs_fs: [u32; 2],
    es_ds: [u32; 2],
    edi_esi_ebp: [u32; 3],
    esp: u32,
    ebx_edx_ecx_eax: [u32; 4],
    trapno_err: [u32; 2],
    eip: u32,
    cs: u32,
    eflags: u32,
    esp_at_signal: u32,
    ss: u32,
    fpstate: u32,
    oldmask_cr2: [u32; 2],
    sigmask: [u32; 2],
}

impl Frame32 {
    /// Goes on at `eip` as a new i386 process does.
    pub(crate) fn new(eip: u64, esp: u64, sigmask: u64) -> Frame32 {
        const SS_DISABLE: u32 = 2;
        Frame32 {
            ret_sig_info_uc: [0; 4],
            siginfo: [0; 32],
            uc_flags: 0,
            uc_link: 0,
            ss_sp: 0,
            ss_flags: SS_DISABLE,
            ss_size: 0,
            gs_fs: [0; 2],
            es_ds: [DS32.into(); 2],
            edi_esi_ebp: [0; 3],
            esp: esp as u32,
            ebx_edx_ecx_eax: [0; 4],
            trapno_err: [0; 2],
            eip: eip as u32,
            cs: CS32.into(),
            eflags: 0x202,
            esp_at_signal: 0,
            ss: DS32.into(),
            fpstate: 0,
            oldmask_cr2: [0; 2],
            sigmask: [sigmask as u32, (sigmask >> 32) as u32],
        }
    }

    /// As the kernel reads it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `Frame32` is `repr(C)` made of 32-bit integers without padding between them.
        unsafe {
            core::slice::from_raw_parts((&raw const *self).cast::<u8>(), size_of::<Frame32>())
        }
    }
}
