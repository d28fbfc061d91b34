//! What there is to tell about an exec, in the words of the JSON contract. Every other form, text
//! and pictures, is made from this.

use serde::Serialize;
use uexec_core::abi::elf;
use uexec_core::arch::X86_64;
use uexec_core::auxv::Auxv;
use uexec_core::error::ExecError;
use uexec_core::image::{Image, Object};
use uexec_core::mm::{Backing, Prot, Vma};
use uexec_core::story::{Link, Shown, Story};
use uexec_core::{Plan, machine_name};
use uexec_ld::LinkMap;

use super::Explained;
use super::bindings::BindingInfo;
use crate::libraries::Missing;

/// One explained exec.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    pub(crate) program: String,
    pub(crate) argv: Vec<String>,
    /// `ok` or `error`.
    pub(crate) outcome: &'static str,
    pub(crate) error: Option<Failure>,
    pub(crate) chain: Vec<ChainLink>,
    /// Whose layout it is that follows, if it is not that of this kernel.
    pub(crate) laid_out_as: Option<LaidOutAs>,
    pub(crate) image: Option<ImageInfo>,
    pub(crate) registers: Option<RegistersInfo>,
    pub(crate) maps: Vec<MapLine>,
    pub(crate) auxv: Vec<AuxvEntry>,
    pub(crate) mm: Option<MmInfo>,
    pub(crate) creds: Option<CredsInfo>,
    pub(crate) stack: Option<StackInfo>,
    /// What the loader maps, in its order, and what it does not find.
    pub(crate) libraries: Vec<Library>,
    /// What stops the loader.
    pub(crate) missing: Vec<Missing>,
    pub(crate) bindings: Vec<BindingInfo>,
    pub(crate) story: Vec<Told>,
}

/// Why an exec fails.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) errno: &'static str,
    pub(crate) number: u16,
    pub(crate) stage: &'static str,
    pub(crate) why: String,
    pub(crate) hint: String,
    pub(crate) spec: &'static str,
    /// The file at fault.
    pub(crate) file: Option<String>,
    /// The bytes at fault.
    pub(crate) at: Option<FaultAt>,
    /// The signal the process dies by, after the point of no return.
    pub(crate) signal: Option<&'static str>,
}

/// A layout that is not this kernel's.
#[derive(Debug, Serialize)]
pub(crate) struct LaidOutAs {
    /// Whose it is.
    pub(crate) by: String,
    /// What the program finds at its first instruction.
    pub(crate) entry: &'static str,
    /// Where the numbers stand.
    pub(crate) source: &'static str,
    /// What of it is not certain.
    pub(crate) approximate: String,
}

impl LaidOutAs {
    fn new(plan: &Plan) -> LaidOutAs {
        let told = plan.image.arch.told;
        let by = match plan.image.aout {
            Some(_) => "uexec run".to_owned(),
            None => format!("Linux 6.18 for {}", plan.image.arch.name),
        };
        let aout = plan.image.aout.is_some();
        LaidOutAs {
            by,
            entry: told.entry,
            source: if aout { "Linux 5.15, arch/x86/ia32/ia32_aout.c" } else { told.source },
            approximate: match plan.image.interp_missing {
                Some(_) => format!("{}; its loader is not here and left out", told.approximate),
                None => told.approximate.to_owned(),
            },
        }
    }
}

/// Bytes of a file: of the script, when the interpreter it names fails.
#[derive(Debug, Serialize)]
pub(crate) struct FaultAt {
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct ChainLink {
    pub(crate) path: String,
    pub(crate) format: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct ImageInfo {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) class: u8,
    pub(crate) machine: &'static str,
    pub(crate) entry: Hex,
    pub(crate) interp: Option<String>,
    /// `PT_LOAD` segments of the program.
    pub(crate) segments: Vec<SegmentInfo>,
    /// Those of its interpreter.
    pub(crate) interp_segments: Vec<SegmentInfo>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SegmentInfo {
    pub(crate) flags: String,
    pub(crate) offset: u64,
    pub(crate) filesz: u64,
    pub(crate) memsz: u64,
    pub(crate) vaddr: Hex,
    pub(crate) align: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct RegistersInfo {
    pub(crate) rip: Hex,
    pub(crate) rsp: Hex,
}

/// A line of `/proc/PID/maps`.
#[derive(Debug, Serialize)]
pub(crate) struct MapLine {
    pub(crate) start: Hex,
    pub(crate) end: Hex,
    pub(crate) perms: String,
    pub(crate) offset: u64,
    pub(crate) path: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct AuxvEntry {
    #[serde(rename = "type")]
    pub(crate) kind: u64,
    pub(crate) name: &'static str,
    pub(crate) value: Hex,
}

#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names are those of PR_SET_MM(2const)")]
pub(crate) struct MmInfo {
    pub(crate) start_code: Hex,
    pub(crate) end_code: Hex,
    pub(crate) start_data: Hex,
    pub(crate) end_data: Hex,
    pub(crate) start_brk: Hex,
    pub(crate) start_stack: Hex,
    pub(crate) arg_start: Hex,
    pub(crate) arg_end: Hex,
    pub(crate) env_start: Hex,
    pub(crate) env_end: Hex,
}

#[derive(Debug, Serialize)]
pub(crate) struct CredsInfo {
    pub(crate) uid: u32,
    pub(crate) euid: u32,
    pub(crate) gid: u32,
    pub(crate) egid: u32,
    pub(crate) secureexec: bool,
}

/// Where the parts of the first stack are.
#[derive(Debug, Serialize)]
pub(crate) struct StackInfo {
    pub(crate) rsp: Hex,
    pub(crate) end: Hex,
    pub(crate) argc: u64,
    pub(crate) envc: u64,
    pub(crate) args: Hex,
    pub(crate) filename: Hex,
    pub(crate) random: Hex,
    pub(crate) platform: Hex,
}

#[derive(Debug, Serialize)]
pub(crate) struct Library {
    pub(crate) name: String,
    pub(crate) path: Option<String>,
    pub(crate) needed_by: String,
    /// The rule that found it, in the words of ld.so(8).
    pub(crate) found_by: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Told {
    pub(crate) stage: &'static str,
    pub(crate) what: String,
    pub(crate) spec: &'static str,
}

/// An address, written as a hexadecimal string: JSON numbers are not exact beyond 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hex(pub(crate) u64);

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

pub(crate) fn shown(bytes: &[u8]) -> String {
    Shown(bytes).to_string()
}

impl Explanation {
    /// Everything that is known of an exec.
    pub(crate) fn new(e: &Explained) -> Explanation {
        let error = e.error();
        let (chain, story) = match (&e.result, &error) {
            (Ok(plan), _) => (links(&plan.chain), told(&plan.story)),
            (Err(_), Some(error)) => (links(&error.chain), told(&error.story)),
            (Err(_), None) => Default::default(),
        };
        // A plan that ends in death has only a part of its layout.
        let plan = e.result.as_ref().ok().or(e.elsewhere.as_ref());
        let alive = plan.filter(|p| p.death.is_none());
        Explanation {
            program: shown(&e.program),
            argv: e.argv.iter().map(|a| shown(a)).collect(),
            outcome: if e.starts() { "ok" } else { "error" },
            error: error.as_ref().map(failure),
            chain,
            laid_out_as: e.elsewhere.as_ref().map(LaidOutAs::new),
            image: plan.map(|p| image(&p.image, p.auxv.get(uexec_core::abi::at::ENTRY))),
            registers: alive
                .map(|p| RegistersInfo { rip: Hex(p.registers.rip), rsp: Hex(p.registers.rsp) }),
            maps: alive.map(|p| maps(p, e)).unwrap_or_default(),
            auxv: alive.map(|p| auxv(&p.auxv)).unwrap_or_default(),
            mm: alive.map(mm),
            creds: plan.map(|p| CredsInfo {
                uid: p.creds.uid,
                euid: p.creds.euid,
                gid: p.creds.gid,
                egid: p.creds.egid,
                secureexec: p.creds.secureexec,
            }),
            stack: alive.map(stack),
            libraries: e.libraries.as_ref().map(libraries).unwrap_or_default(),
            missing: e.libraries.as_ref().map(crate::libraries::missing).unwrap_or_default(),
            bindings: e.bindings.iter().map(BindingInfo::from).collect(),
            story,
        }
    }
}

fn libraries(map: &LinkMap) -> Vec<Library> {
    let found = map.objects.iter().map(|o| Library {
        name: shown(&o.name),
        path: Some(shown(&o.path)),
        needed_by: shown(&o.needed_by),
        found_by: Some(o.how.name()),
    });
    let missing = map.missing.iter().map(|m| Library {
        name: shown(&m.name),
        path: None,
        needed_by: shown(&m.needed_by),
        found_by: None,
    });
    found.chain(missing).collect()
}

fn failure(error: &ExecError) -> Failure {
    let r = &error.refusal;
    let errno = r.reason.errno();
    Failure {
        errno: errno.name(),
        number: errno.0,
        stage: r.stage.as_str(),
        why: r.why().into_owned(),
        hint: r.hint().to_owned(),
        spec: r.reason.spec(),
        file: (!r.file.is_empty()).then(|| shown(&r.file)),
        at: crate::report::bytes_at_fault(error).map(|(file, span)| FaultAt {
            file: shown(file),
            offset: span.offset,
            len: span.len,
        }),
        signal: r.stage.after_point_of_no_return().then_some("SIGSEGV"),
    }
}

fn links(chain: &[Link]) -> Vec<ChainLink> {
    chain
        .iter()
        .map(|l| ChainLink { path: shown(&l.path), format: l.format.clone().into_owned() })
        .collect()
}

fn told(story: &Story) -> Vec<Told> {
    story
        .events()
        .iter()
        .map(|e| Told { stage: e.stage.as_str(), what: e.what.clone().into_owned(), spec: e.spec })
        .collect()
}

fn image(image: &Image, entry: Option<u64>) -> ImageInfo {
    let header = image.program.header;
    ImageInfo {
        kind: match &image.aout {
            Some(header) => header.magic.name(),
            None if image.program.is_dyn() => "ET_DYN",
            None => "ET_EXEC",
        },
        class: image.arch.class.bits(),
        machine: machine_name(header.e_machine),
        entry: Hex(entry.unwrap_or(header.e_entry)),
        interp: match &image.interp {
            Some(interp) => Some(shown(&interp.file.path)),
            None => image.interp_missing.as_deref().map(shown),
        },
        segments: segments(&image.program),
        interp_segments: image.interp.as_ref().map(segments).unwrap_or_default(),
    }
}

fn segments(object: &Object) -> Vec<SegmentInfo> {
    let letter = |flags: u32, bit: u32, c: char| if flags & bit != 0 { c } else { '-' };
    object
        .loads
        .iter()
        .map(|s| SegmentInfo {
            flags: [(elf::PF_R, 'r'), (elf::PF_W, 'w'), (elf::PF_X, 'x')]
                .map(|(bit, c)| letter(s.p_flags, bit, c))
                .iter()
                .collect(),
            offset: s.p_offset,
            filesz: s.p_filesz,
            memsz: s.p_memsz,
            vaddr: Hex(s.p_vaddr),
            align: s.p_align,
        })
        .collect()
}

/// The mappings as `/proc/PID/maps` shows them.
fn maps(plan: &Plan, e: &Explained) -> Vec<MapLine> {
    let mut lines: Vec<MapLine> = plan
        .vmas
        .iter()
        .map(|v| MapLine {
            start: Hex(v.start),
            end: Hex(v.end),
            perms: perms(v.prot),
            offset: match v.backing {
                Backing::File { offset, .. } => offset,
                _ => 0,
            },
            path: name(v, plan, e),
        })
        .collect();
    lines.extend(vsyscall().filter(|_| plan.image.arch.is(&X86_64)));
    lines
}

fn perms(prot: Prot) -> String {
    let mut text: String = [(Prot::READ, 'r'), (Prot::WRITE, 'w'), (Prot::EXEC, 'x')]
        .map(|(bit, c)| if prot.contains(bit) { c } else { '-' })
        .iter()
        .collect();
    text.push('p');
    text
}

/// The last column: the file, or what the kernel calls the mapping.
fn name(v: &Vma, plan: &Plan, e: &Explained) -> String {
    match &v.backing {
        Backing::File { file, .. } => shown(&e.host.path_of(*file).unwrap_or_default()),
        _ => plan.name_of(v).to_owned(),
    }
}

/// The page outside all address spaces, where the kernel still has it. It is the same for every
/// 64-bit process.
fn vsyscall() -> Option<MapLine> {
    let text = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = text.lines().last().filter(|l| l.ends_with("[vsyscall]"))?;
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let hex = |s| u64::from_str_radix(s, 16).ok().map(Hex);
    Some(MapLine {
        start: hex(start)?,
        end: hex(end)?,
        perms: rest.split(' ').next()?.to_owned(),
        offset: 0,
        path: "[vsyscall]".into(),
    })
}

fn auxv(auxv: &Auxv) -> Vec<AuxvEntry> {
    let entry =
        |&(kind, value): &(u64, u64)| AuxvEntry { kind, name: Auxv::name(kind), value: Hex(value) };
    auxv.0.iter().chain([&(0, 0)]).map(entry).collect()
}

fn mm(plan: &Plan) -> MmInfo {
    let mm = &plan.mm;
    MmInfo {
        start_code: Hex(mm.start_code),
        end_code: Hex(mm.end_code),
        start_data: Hex(mm.start_data),
        end_data: Hex(mm.end_data),
        start_brk: Hex(mm.start_brk),
        start_stack: Hex(mm.start_stack),
        arg_start: Hex(mm.arg_start),
        arg_end: Hex(mm.arg_end),
        env_start: Hex(mm.env_start),
        env_end: Hex(mm.env_end),
    }
}

fn stack(plan: &Plan) -> StackInfo {
    let s = &plan.stack;
    StackInfo {
        rsp: Hex(s.rsp),
        end: Hex(s.end),
        argc: s.argc,
        envc: s.envc,
        args: Hex(s.args),
        filename: Hex(s.filename),
        random: Hex(s.random),
        platform: Hex(s.platform),
    }
}
