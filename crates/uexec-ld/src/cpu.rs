//! The processor a program will run on, as far as it decides which libraries are loaded.

/// What the loader asks of the processor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cpu {
    /// Names of `glibc-hwcaps` subdirectories it can use, best first.
    pub levels: Vec<Vec<u8>>,
    /// What `$PLATFORM` means.
    pub platform: Vec<u8>,
    /// Names of the older subdirectories, which glibc before 2.37 searches too.
    pub legacy: Vec<Vec<u8>>,
}

impl Default for Cpu {
    fn default() -> Cpu {
        Cpu::detect()
    }
}

impl Cpu {
    /// An x86-64 processor that has nothing but the first instruction set.
    #[must_use]
    pub fn baseline() -> Cpu {
        let x86_64 = b"x86_64".to_vec();
        Cpu { levels: Vec::new(), platform: x86_64.clone(), legacy: vec![x86_64] }
    }

    /// This one.
    #[must_use]
    #[cfg(target_arch = "x86_64")]
    pub fn detect() -> Cpu {
        use std::arch::is_x86_feature_detected as has;
        // The levels of the x86-64 psABI. LAHF in long mode cannot be asked for here; no
        // processor has the rest of v2 without it.
        let v2 = has!("cmpxchg16b")
            && has!("popcnt")
            && has!("sse3")
            && has!("ssse3")
            && has!("sse4.1")
            && has!("sse4.2");
        let v3 = v2
            && has!("avx")
            && has!("avx2")
            && has!("bmi1")
            && has!("bmi2")
            && has!("f16c")
            && has!("fma")
            && has!("lzcnt")
            && has!("movbe");
        let v4 = v3
            && has!("avx512f")
            && has!("avx512bw")
            && has!("avx512cd")
            && has!("avx512dq")
            && has!("avx512vl");
        let levels = [(v4, "x86-64-v4"), (v3, "x86-64-v3"), (v2, "x86-64-v2")];
        let mut cpu = Cpu {
            levels: levels.iter().filter(|l| l.0).map(|l| l.1.into()).collect(),
            ..Cpu::baseline()
        };
        if is_intel() {
            // glibc names Intel's own: haswell since what v3 is, and one bit for AVX-512.
            if v3 {
                cpu.platform = b"haswell".to_vec();
            }
            if v4 {
                cpu.legacy.insert(0, b"avx512_1".to_vec());
            }
        }
        cpu
    }

    /// This one.
    #[must_use]
    #[cfg(not(target_arch = "x86_64"))]
    pub fn detect() -> Cpu {
        let name = std::env::consts::ARCH.as_bytes().to_vec();
        Cpu { levels: Vec::new(), platform: name, legacy: Vec::new() }
    }

    /// Subdirectories tried below each search directory, with trailing slashes, in order; the
    /// directory itself comes last.
    pub(crate) fn subdirs(&self, with_legacy: bool) -> Vec<Vec<u8>> {
        let hwcaps = |level: &Vec<u8>| [b"glibc-hwcaps/", level.as_slice(), b"/"].concat();
        let mut all: Vec<Vec<u8>> = self.levels.iter().map(hwcaps).collect();
        let mut names: Vec<&[u8]> = Vec::new();
        if with_legacy {
            names.extend([b"tls".as_slice(), &self.platform]);
            names.extend(self.legacy.iter().map(Vec::as_slice));
        }
        // Every subset of the names, as counting down in binary gives them.
        names.truncate(8);
        for set in (0..1u32 << names.len()).rev() {
            let picked = names.iter().rev().enumerate().filter(|(bit, _)| set >> bit & 1 == 1);
            let mut dir = Vec::new();
            for (_, name) in picked.collect::<Vec<_>>().into_iter().rev() {
                dir.extend_from_slice(name);
                dir.push(b'/');
            }
            if !all.contains(&dir) {
                all.push(dir);
            }
        }
        all
    }
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    use std::io::Read;
    // The vendor stands in the first lines.
    let mut head = [0; 512];
    let read = std::fs::File::open("/proc/cpuinfo").and_then(|mut f| f.read(&mut head));
    let n = read.unwrap_or(0);
    head.get(..n).is_some_and(|h| h.windows(12).any(|w| w == b"GenuineIntel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdirs_count_down() {
        let mut cpu = Cpu::baseline();
        assert_eq!(cpu.subdirs(false), [b"".to_vec()]);
        cpu.levels = vec![b"x86-64-v2".to_vec()];
        let dirs = cpu.subdirs(true);
        let dirs: Vec<_> = dirs.iter().map(|d| std::str::from_utf8(d).unwrap()).collect();
        let expected = [
            "glibc-hwcaps/x86-64-v2/",
            "tls/x86_64/x86_64/",
            "tls/x86_64/",
            "tls/",
            "x86_64/x86_64/",
            "x86_64/",
            "",
        ];
        assert_eq!(dirs, expected);
    }
}
