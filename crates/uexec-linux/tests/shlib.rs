//! Libraries mapped as `uselib(2)` did, for real.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use uexec_core::Errno;

const AT: u64 = 0x6660_0000;

fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(bytes).unwrap();
    drop(file);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// ELF64, one segment: a function that returns 42, then room for zeroes.
fn library(vaddr: u64) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    for half in [2u16, 62] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    for word in [0u64, 64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    out.extend([1u32, 7].iter().flat_map(|w| w.to_le_bytes()));
    for word in [0u64, vaddr, vaddr, 0x200, 0x3000, 4096] {
        out.extend(word.to_le_bytes());
    }
    out.resize(0x100, 0);
    out.extend([0xb8, 42, 0, 0, 0, 0xc3]);
    out.resize(0x200, 0xff);
    out
}

#[test]
fn a_library_is_mapped_and_can_be_called() {
    let path = write("shlib", &library(AT));
    let name = path.as_os_str().as_encoded_bytes();
    let lib = uexec_linux::load_shlib(name).unwrap();
    assert_eq!((lib.start, lib.end), (AT, AT + 0x3000));
    // SAFETY: the library has just been mapped there; it is a function of the C ABI.
    let function: extern "C" fn() -> i32 = unsafe { std::mem::transmute(AT + 0x100) };
    assert_eq!(function(), 42);
    // SAFETY: mapped readable and writable, zeroed behind the file's bytes.
    let bss = unsafe { std::slice::from_raw_parts_mut((AT + 0x200) as *mut u8, 0x2e00) };
    assert!(bss.iter().all(|b| *b == 0));
    bss.fill(1);
    // Once more: now it is in its own way.
    let error = uexec_linux::load_shlib(name).unwrap_err();
    assert_eq!(error.errno(), Errno::EEXIST);
    assert_eq!(function(), 42);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn nothing_stays_of_a_library_that_does_not_fit() {
    // The zero pages would lie on another library.
    let other = write("shlib-other", &library(AT + 0x100_1000));
    uexec_linux::load_shlib(other.as_os_str().as_encoded_bytes()).unwrap();
    std::fs::remove_file(other).unwrap();
    let path = write("shlib-way", &library(AT + 0x100_0000));
    let error = uexec_linux::load_shlib(path.as_os_str().as_encoded_bytes()).unwrap_err();
    assert_eq!(error.errno(), Errno::EEXIST);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("shlib-way"), "{maps}");
    std::fs::remove_file(path).unwrap();
}
