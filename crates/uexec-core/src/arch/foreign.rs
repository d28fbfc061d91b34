//! Architectures of other machines, as their kernels are built by default, with pages of 4 KiB.
//! For explaining only: nothing of this is ever carried out.
//!
//! The numbers are those of Linux 6.18; each entry names the files they stand in. All of them use
//! `fs/binfmt_elf.c` and `mm/util.c`.

use super::{Arch, Bits, Class, I386, Told, Upwards, X86_64};
use crate::abi::page_up;

const LITTLE: bool = false;
const BIG: bool = true;

/// Finds the architecture of a file by class, byte order and machine.
#[must_use]
pub fn find(class: Class, big_endian: bool, e_machine: u16) -> Option<&'static Arch> {
    FOREIGN
        .iter()
        .find(|a| a.class == class && a.big_endian == big_endian && a.machines.contains(&e_machine))
}

/// 64-bit tasks with generic rules, ending at `top`.
const fn wide(name: &'static str, machines: &'static [u16], top: u64, dyn_base: u64) -> Arch {
    Arch {
        name,
        machines,
        task_size: top,
        stack_top: top,
        legacy_base: page_up(top / 3),
        stack_rnd: 0x3_ffff,
        et_dyn_base: dyn_base,
        mmap_bits: Bits::Fixed(18),
        platform: b"",
        upwards: Upwards::StackUnlimited,
        ..X86_64
    }
}

/// The same for 32-bit ones.
const fn narrow(name: &'static str, machines: &'static [u16], top: u64, dyn_base: u64) -> Arch {
    Arch {
        class: Class::Elf32,
        stack_rnd: 0x7ff,
        brk_bits: 13,
        mmap_bits: Bits::Fixed(8),
        ..wide(name, machines, top, dyn_base)
    }
}

const AARCH64: Arch = Arch {
    legacy_base: 1 << 46,
    platform: b"aarch64",
    told: Told {
        entry: "pc is the entry point, sp the first stack, all other registers are 0",
        source: "arch/arm64/include/asm/{processor,memory,elf}.h",
        approximate: "for 48-bit virtual addresses; vdso and AT_HWCAP are those of no machine",
    },
    ..wide("aarch64", &[183], 1 << 48, (1 << 48) / 3 * 2)
};

const AARCH64_BE: Arch =
    Arch { name: "aarch64_be", big_endian: BIG, platform: b"aarch64_be", ..AARCH64 };

const ARM: Arch = Arch {
    legacy_base: 0x4000_0000,
    platform: b"v7l",
    read_implies_exec: true,
    thumb: true,
    told: Told {
        entry: "bit 0 of the entry point chooses Thumb code and is cleared in pc; r0 is 0",
        source: "arch/arm/include/asm/{memory,processor,elf}.h",
        approximate: "a 32-bit kernel with 3 GiB for programs; AT_PLATFORM v7l, no vdso",
    },
    ..narrow("arm", &[40], 0xbf00_0000, 0x0040_0000)
};

const ARMEB: Arch = Arch { name: "armeb", big_endian: BIG, platform: b"v7b", ..ARM };

const RISCV64: Arch = Arch {
    told: Told {
        entry: "pc is the entry point, sp the first stack, all other registers are 0",
        source: "arch/riscv/include/asm/{processor,pgtable,elf}.h",
        approximate: "for Sv48 and Sv57; with Sv39 addresses end at 0x4000000000; no vdso, no cache sizes in the vector",
    },
    ..wide("riscv64", &[243], 1 << 47, (1 << 47) / 3 * 2)
};

const RISCV32: Arch = Arch {
    told: Told {
        entry: "pc is the entry point, sp the first stack, all other registers are 0",
        source: "arch/riscv/include/asm/{processor,pgtable,elf}.h",
        approximate: "where addresses end depends on the kernel's fixed mappings; no vdso",
    },
    ..narrow("riscv32", &[243], 0x9dc0_0000, 0x9dc0_0000 / 3 * 2)
};

const PPC64: Arch = Arch {
    big_endian: BIG,
    legacy_base: 1 << 44,
    told: Told {
        entry: "ELFv1: the entry point is a function descriptor, its first word goes to nip, its second to r2; ELFv2 (e_flags 2): nip and r12 are the entry point; r1 is the first stack",
        source: "arch/powerpc/include/asm/{task_size_64,processor,elf}.h",
        approximate: "with pages of 4 KiB; most kernels have 64 KiB and 128 TiB; no vdso, no cache sizes in the vector",
    },
    ..wide("ppc64", &[21], 1 << 46, 0x1_0000_0000)
};

const PPC64LE: Arch = Arch { name: "ppc64le", big_endian: LITTLE, ..PPC64 };

const PPC: Arch = Arch {
    big_endian: BIG,
    legacy_base: 0x3000_0000,
    told: Told {
        entry: "nip is the entry point, r1 the first stack, all other registers are 0",
        source: "arch/powerpc/include/asm/{task_size_32,processor,elf}.h",
        approximate: "a 32-bit kernel; no vdso, no cache sizes in the vector",
    },
    ..narrow("ppc", &[20], 0xc000_0000, 0x0040_0000)
};

const S390X: Arch = Arch {
    big_endian: BIG,
    // Page tables grow with what is mapped.
    task_size: 1 << 53,
    stack_top: (1 << 42) - 0x3000,
    legacy_base: 1 << 41,
    et_dyn_base: 0x2aa_0000_0000,
    stack_rnd: 0x3_ff80,
    told: Told {
        entry: "the PSW holds the entry point in 64-bit mode, r15 the first stack, all other registers are 0",
        source: "arch/s390/include/asm/{processor,elf}.h, arch/s390/mm/mmap.c",
        approximate: "the stack ends below the vdso, whose size depends on the build; AT_PLATFORM depends on the machine",
    },
    ..wide("s390x", &[22], 1 << 42, 0)
};

const MIPS: Arch = Arch {
    big_endian: BIG,
    stack_top: 0x7fff_d000,
    told: Told {
        entry: "pc is the entry point, $29 the first stack; $2 is 0",
        source: "arch/mips/include/asm/{processor,elf}.h, arch/mips/kernel/process.c",
        approximate: "o32 under a 32-bit kernel; the stack ends below the vdso, whose size depends on build and caches",
    },
    ..narrow("mips", &[8], 0x8000_0000, 0x8000_0000 / 3 * 2)
};

const MIPSEL: Arch = Arch { name: "mipsel", big_endian: LITTLE, ..MIPS };

const MIPS64: Arch = Arch {
    big_endian: BIG,
    stack_top: 0xff_ffff_d000,
    told: Told {
        entry: "pc is the entry point, $29 the first stack; $2 is 0",
        source: "arch/mips/include/asm/{processor,elf}.h, arch/mips/kernel/process.c",
        approximate: "40-bit addresses; the stack ends below the vdso, whose size depends on build and caches",
    },
    ..wide("mips64", &[8], 1 << 40, (1 << 40) / 3 * 2)
};

const MIPS64EL: Arch = Arch { name: "mips64el", big_endian: LITTLE, ..MIPS64 };

const LOONGARCH64: Arch = Arch {
    stack_top: (1 << 47) - 0x4000,
    told: Told {
        entry: "pc is the entry point, r3 the first stack, all other registers are 0",
        source: "arch/loongarch/include/asm/{processor,elf}.h",
        approximate: "47-bit addresses and pages of 4 KiB, most kernels have 16 KiB; the stack ends below the vdso",
    },
    ..wide("loongarch64", &[258], 1 << 47, (1 << 47) / 3 * 2)
};

/// Nothing but the stack is random.
const M68K: Arch = Arch {
    big_endian: BIG,
    legacy_base: 0xc000_0000,
    brk_bits: 0,
    mmap_bits: Bits::Fixed(0),
    upwards: Upwards::Always,
    told: Told {
        entry: "pc is the entry point, a7 the first stack, a1 is 0",
        source: "arch/m68k/include/asm/{processor,elf}.h, arch/m68k/Kconfig",
        approximate: "a kernel for classic processors with MMU; ColdFire and Sun 3 have other addresses",
    },
    ..narrow("m68k", &[4], 0xf000_0000, 0xd000_0000)
};

/// i386 programs under a 32-bit kernel.
const I386_ALONE: Arch = Arch {
    name: "i386 (32-bit kernel)",
    task_size: 0xc000_0000,
    stack_top: 0xc000_0000,
    legacy_base: 0x4000_0000,
    et_dyn_base: 0x0040_0000,
    mmap_bits: Bits::Fixed(8),
    told: Told {
        entry: "eip is the entry point, esp the first stack, all other registers are 0",
        source: "arch/x86/include/asm/{page_32_types,processor,elf}.h",
        approximate: "3 GiB for programs; no vdso",
    },
    ..I386
};

/// All of them.
pub static FOREIGN: [Arch; 17] = [
    AARCH64,
    AARCH64_BE,
    ARM,
    ARMEB,
    RISCV64,
    RISCV32,
    PPC64,
    PPC64LE,
    PPC,
    S390X,
    MIPS,
    MIPSEL,
    MIPS64,
    MIPS64EL,
    LOONGARCH64,
    M68K,
    I386_ALONE,
];
