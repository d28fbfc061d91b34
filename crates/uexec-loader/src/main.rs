//! The entry of the loader. Everything of interest is in the library beside it.

#![no_std]
#![no_main]

extern crate alloc;

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};

use uexec_core::abi::at;
use uexec_early::{Bump, quit};
use uexec_linux::Home;
use uexec_loader::config::{Config, LEN, MAGIC};
use uexec_loader::load::{Failed, Start, load};

const OWN_FAILURE: u8 = 125;

#[global_allocator]
static MEMORY: Bump<OWN_FAILURE> = Bump::new();

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rbx, rsp",                           // what the kernel has put there
    "lea rsp, [rip + {stack} + {stack_len}]", // the kernel's may be small
    // All pages that are going to be touched, at once: each fault would cost more than a call.
    "lea rdi, [rsp - {below}]",
    "mov esi, {touched}",
    "mov edx, 23", // MADV_POPULATE_WRITE
    "mov eax, 28",
    "syscall",
    "mov rdi, rbx",
    "call {main}",
    "ud2",
    main = sym main,
    stack = sym STACK,
    stack_len = const STACK_LEN,
    below = const STACK_TOUCHED,
    touched = const STACK_TOUCHED + ARENA_TOUCHED,
);

// The standard library's parts name these; nothing unwinds here.
global_asm!(
    ".globl _Unwind_Resume",
    ".globl rust_eh_personality",
    "_Unwind_Resume:",
    "rust_eh_personality:",
    "ud2",
);

const STACK_LEN: usize = 128 << 10;
/// How much of it is used, usually; the allocator's arena follows.
const STACK_TOUCHED: usize = 4 * 4096;
const ARENA_TOUCHED: usize = 7 * 4096;

#[repr(align(4096))]
struct Stack(#[allow(dead_code, reason = "only `rsp` points there")] UnsafeCell<[u8; STACK_LEN]>);

// SAFETY: there is one thread, and nothing names it but the code above.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_LEN]));

/// What it is told: written to in the image, before it is executed.
#[repr(align(64))]
struct Pages([u8; LEN]);

#[used]
#[unsafe(link_section = ".config")]
static CONFIG: Pages = Pages({
    let mut page = [0; LEN];
    let mut i = 0;
    while i < MAGIC.len() {
        page[i] = MAGIC[i];
        i += 1;
    }
    page
});

extern "C" fn main(stack: *const usize) -> ! {
    MEMORY.open();
    // SAFETY: called once, with the stack as the kernel built it.
    let start = unsafe { read(stack) };
    let home = home(stack as u64, &start);
    // SAFETY: the kernel has just started this program; nothing has been mapped since but by its
    // allocator, where there was room.
    match unsafe { load(start, config(), has_random_break(), home) } {
        // SAFETY: the kernel has just started this process: one thread, an own address space.
        Ok(prepared) => unsafe { prepared.commit() },
        Err(Failed::Death) => uexec_linux::die(),
        Err(Failed::Exit(why, status)) => quit(why.as_bytes(), status),
    }
}

unsafe extern "C" {
    /// Where the image begins, its zeroes begin, and all ends.
    static image_start: u8;
    static zeroes: u8;
    static bss_end: u8;
}

/// The memory of this program.
fn home(stack: u64, start: &Start) -> Home {
    let image = (&raw const image_start) as u64..(&raw const bss_end) as u64;
    // The name of what is executed is the last string; one more word is the stack's end (STK-8).
    let end = start.execfn_at + start.execfn.len() as u64 + 1 + 8;
    let zeroes_at = (&raw const zeroes) as u64;
    Home { image, zeroes: zeroes_at, stack: stack & !4095..end }
}

/// Whether the break was placed at random: the kernel does so where all addresses are random. That
/// is a file less to be read.
fn has_random_break() -> bool {
    let mut now: u64 = 12; // brk(2)
    // SAFETY: asks where it is; memory and stack stay untouched.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") now, in("rdi") 0u64, lateout("rcx") _, lateout("r11") _);
    }
    now > (&raw const bss_end) as u64
}

fn config() -> Config {
    let page: *const Pages = core::hint::black_box(&raw const CONFIG);
    // SAFETY: it is the static above, which nobody writes to; where it is the compiler cannot know,
    // nor then what the image holds by now.
    let page = unsafe { &*page };
    Config::decode(page.0.get(MAGIC.len()..).unwrap_or_default())
}

/// Reads what the kernel gives a program.
///
/// # Safety
/// `stack` must point at `argc` as at a program's entry.
unsafe fn read(stack: *const usize) -> Start {
    // SAFETY: argument words, environment and auxiliary vector follow each other, each with an end.
    let word = |i: usize| unsafe { *stack.add(i) };
    let argc = word(0);
    let env = argc + 2;
    let end = (env..).find(|i| word(*i) == 0).unwrap_or(env);
    let mut start = Start::default();
    let mut i = end + 1;
    while word(i) != 0 {
        start.auxv.push((word(i) as u64, word(i + 1) as u64));
        i += 2;
    }
    start.execfn_at = start.aux(at::EXECFN).unwrap_or_default();
    // SAFETY: the kernel has put a C string there.
    let execfn = unsafe { CStr::from_ptr(start.execfn_at as *const c_char) };
    start.execfn = execfn.to_bytes().to_vec();
    // All strings stand one after the other, and that name behind them (STK-2).
    let mut next = start.execfn_at as usize;
    let mut text = |i: usize| {
        let len = next.saturating_sub(word(i) + 1);
        next = word(i);
        // SAFETY: the kernel has put a string of that length there, and its NUL.
        unsafe { core::slice::from_raw_parts(next as *const u8, len) }.to_vec()
    };
    start.envp = (env..end).rev().map(&mut text).collect();
    start.argv = (1..=argc).rev().map(text).collect();
    start.envp.reverse();
    start.argv.reverse();
    start
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    quit(b"uexec-loader: it has failed in a way that it should not\n", OWN_FAILURE)
}
