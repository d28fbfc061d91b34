//! A world in memory: files by path, adjustable facts and settings, no symbolic links.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod elf;
pub mod feed;
pub mod model;

use uexec_core::error::FileKind;
use uexec_core::world::{At, Denied, Facts, FileId, Ia32, Mount, Role, Stat, Sysctl, World};
use uexec_core::{Errno, Exec, ExecError, KERNEL_FORMATS, Plan, Reason};

/// One file.
#[derive(Clone, Debug)]
pub struct Node {
    pub path: Vec<u8>,
    pub contents: Vec<u8>,
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub denied: Option<Denied>,
    pub caps: Option<Vec<u8>>,
    pub mount: Mount,
    pub dentry: Option<Vec<u8>>,
}

/// The files and everything else that is asked.
#[derive(Clone, Debug)]
pub struct Mem {
    pub files: Vec<Node>,
    pub facts: Facts,
    pub randomize: u64,
    pub rnd_bits: u64,
    pub min_addr: u64,
    pub legacy: u64,
    pub suid_dumpable: u64,
    pub bounding: u64,
    pub ambient: u64,
    pub ia32: Option<Ia32>,
}

impl Default for Mem {
    fn default() -> Mem {
        let mut mem = Mem {
            files: Vec::new(),
            facts: Facts::example(),
            randomize: 2,
            rnd_bits: 28,
            min_addr: 4096,
            legacy: 0,
            suid_dumpable: 0,
            bounding: (1 << 41) - 1,
            ambient: 0,
            ia32: Some(Ia32::example()),
        };
        mem.add(".", b"").kind = FileKind::Directory;
        mem
    }
}

impl Mem {
    /// Adds an executable file; the answer is there to be changed.
    pub fn add(&mut self, path: impl AsRef<[u8]>, contents: impl Into<Vec<u8>>) -> &mut Node {
        self.files.push(Node {
            path: path.as_ref().to_vec(),
            contents: contents.into(),
            kind: FileKind::Regular,
            mode: 0o755,
            uid: 0,
            gid: 0,
            denied: None,
            caps: None,
            mount: Mount::default(),
            dentry: None,
        });
        self.files.last_mut().unwrap()
    }

    /// The same, for chains of calls.
    pub fn with(mut self, path: impl AsRef<[u8]>, contents: impl Into<Vec<u8>>) -> Mem {
        self.add(path, contents);
        self
    }

    /// The caller is an ordinary user without capabilities.
    pub fn by_user(mut self, id: u32) -> Mem {
        let c = &mut self.facts.creds;
        (c.uid, c.euid, c.suid, c.fsuid) = (id, id, id, id);
        (c.gid, c.egid, c.sgid, c.fsgid) = (id, id, id, id);
        (c.permitted, c.effective) = (0, 0);
        self
    }

    /// Plans with the formats of the kernel.
    pub fn plan(&mut self, exec: Exec) -> Result<Plan, ExecError> {
        uexec_core::plan(exec, self, &KERNEL_FORMATS)
    }

    /// Plans a program by its path alone.
    pub fn run(&mut self, path: &str) -> Result<Plan, ExecError> {
        self.plan(Exec::new(path))
    }

    fn node(&self, file: FileId) -> Result<&Node, Errno> {
        self.files.get(file.0 as usize).ok_or(Errno::EBADF)
    }
}

impl World for Mem {
    fn open(&mut self, _at: At, path: &[u8], _follow: bool) -> Result<FileId, Errno> {
        // The empty path is a descriptor: the file added first after the directory.
        let found = match path {
            b"" => (self.files.len() > 1).then_some(1),
            _ => self.files.iter().position(|f| f.path == path),
        };
        found.map(|i| FileId(i as u32)).ok_or(Errno::ENOENT)
    }

    fn stat(&mut self, file: FileId) -> Result<Stat, Errno> {
        let n = self.node(file)?;
        let size = n.contents.len() as u64;
        Ok(Stat { kind: n.kind, mode: n.mode, uid: n.uid, gid: n.gid, size })
    }

    fn check_exec(&mut self, file: FileId, _: Role) -> Result<(), Denied> {
        let n = self.node(file).map_err(Denied::Policy)?;
        match n.denied {
            Some(why) => Err(why),
            None if n.mode & 0o111 == 0 => Err(Denied::NoPermission),
            None => Ok(()),
        }
    }

    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let n = self.node(file)?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX).min(n.contents.len());
        let len = buf.len().min(n.contents.len() - at);
        buf[..len].copy_from_slice(&n.contents[at..at + len]);
        Ok(len)
    }

    fn file_caps(&mut self, file: FileId) -> Result<Option<Vec<u8>>, Errno> {
        Ok(self.node(file)?.caps.clone())
    }

    fn mount(&mut self, file: FileId) -> Mount {
        self.node(file).map(|n| n.mount).unwrap_or_default()
    }

    fn sysctl(&mut self, which: Sysctl) -> u64 {
        match which {
            Sysctl::RandomizeVaSpace => self.randomize,
            Sysctl::MmapRndBits => self.rnd_bits,
            Sysctl::MmapRndCompatBits => 8,
            Sysctl::MmapMinAddr => self.min_addr,
            Sysctl::LegacyVaLayout => self.legacy,
            Sysctl::SuidDumpable => self.suid_dumpable,
            Sysctl::MaxMapCount => 65_530,
        }
    }

    fn dentry_name(&mut self, file: FileId) -> Option<Vec<u8>> {
        self.node(file).ok()?.dentry.clone()
    }

    fn cap_sets(&mut self) -> (u64, u64) {
        (self.bounding, self.ambient)
    }

    fn ia32(&mut self) -> Result<Ia32, &'static str> {
        self.ia32.clone().ok_or("this kernel has no IA32 emulation")
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// Strings as the arguments of an exec.
pub fn words(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|s| s.as_bytes().to_vec()).collect()
}

/// An exec of `argv[0]`.
pub fn exec(argv: &[&str], envp: &[&str]) -> Exec {
    Exec { argv: words(argv), envp: words(envp), ..Exec::new(argv[0]) }
}

/// Why a plan dies after the point of no return.
#[track_caller]
pub fn death(plan: Result<Plan, ExecError>) -> Reason {
    let plan = plan.expect("the kernel would pass the point of no return");
    let death = plan.death.expect("the kernel would kill this process");
    assert!(death.stage.after_point_of_no_return(), "{:?}", death.stage);
    death.reason
}

/// A plan that does not die.
#[track_caller]
pub fn alive(plan: Result<Plan, ExecError>) -> Plan {
    let plan = plan.expect("the kernel would pass the point of no return");
    assert_eq!(plan.death, None);
    plan
}
