//! The way of an exec from a name to a plan, in the kernel's order (PIPE-1 to PIPE-49).

use alloc::vec::Vec;

use crate::abi::{COMM_LEN, PAGE, PMD_SIZE, STK_LIM, personality};
use crate::arch::{Arch, X86_64};
use crate::args::ArgArea;
use crate::auxv::{Auxv, AuxvInput};
use crate::binfmt::Registry;
use crate::binfmt::elf::load::Loader;
use crate::bprm::{self, Bprm, Exec, File};
use crate::creds::{self, NewCreds};
use crate::error::{ExecError, Reason, Refusal, Stage};
use crate::image::Image;
use crate::layout::Layout;
use crate::mm::{Backing, Mm, Place, Prot, Vma};
use crate::plan::{MmFields, Op, Plan, Registers};
use crate::stack::{self, Stack};
use crate::story::{Shown, Story, tell};
use crate::world::{Facts, Sysctl, VdsoPart, World};

/// Decides what `execveat(2)` would do with this program.
///
/// The result is a plan, also when the program cannot be laid out: [`Plan::death`] then says why
/// it dies. Nothing is changed anywhere; the world is only asked.
///
/// # Errors
/// What the kernel returns before its point of no return, with the reason, the file and the bytes
/// at fault, and the story so far.
pub fn plan(exec: Exec, world: &mut dyn World, registry: &Registry<'_>) -> Result<Plan, ExecError> {
    let mut story = if exec.untold { Story::untold() } else { Story::default() };
    let mut start = match begin(&exec, world, &mut story) {
        Ok((file, args, argc)) => bprm_of(&exec, world, story, file, args, argc),
        Err(refusal) => return Err(ExecError::new(refusal, Vec::new(), story)),
    };
    let decided = registry.search_binary_handler(&mut start).and_then(|image| {
        let creds = match &exec.handover {
            Some(handover) => creds::applied(&start.world.facts().creds, handover.secureexec),
            None => {
                // MISC-27.
                let of = start.kept.as_ref().filter(|_| start.file_creds).unwrap_or(&start.file);
                creds::decide(start.world, &mut start.story, of, exec.privileges)?
            }
        };
        Ok((image, creds))
    });
    match decided {
        Ok((image, creds)) => {
            let comm = comm(&mut start, &exec);
            Ok(Layouter::new(start, image, creds, comm).finish())
        }
        Err(refusal) => Err(ExecError::new(refusal, start.chain, start.story)),
    }
}

/// The task's name after the exec (PIPE-30).
fn comm(bprm: &mut Bprm<'_>, exec: &Exec) -> Vec<u8> {
    let by_fd = exec.path.is_empty() && bprm.world.facts().since(6, 14);
    let given = match &exec.handover {
        Some(handover) => handover.comm.clone(),
        None if by_fd => bprm.world.dentry_name(bprm.file.id),
        None => None,
    };
    let name = bprm.filename.rsplit(|b| *b == b'/').next().unwrap_or_default();
    given.as_deref().unwrap_or(name).iter().copied().take(COMM_LEN).collect()
}

/// The state of an exec that may ask the formats.
fn bprm_of<'w>(
    exec: &Exec,
    world: &'w mut dyn World,
    story: Story,
    file: File,
    args: ArgArea,
    argc: u64,
) -> Bprm<'w> {
    let filename = exec.filename().into_owned();
    let synthetic = exec.handover.is_none() && filename != exec.path;
    Bprm {
        world,
        story,
        chain: Vec::new(),
        interp: filename.clone(),
        filename,
        file,
        head: [0; crate::abi::BINPRM_BUF_SIZE],
        args,
        argc,
        envc: exec.envp.len() as u64,
        inaccessible: synthetic && exec.fd_cloexec,
        interp_override: exec.interp.clone(),
        kept: None,
        file_creds: false,
        argv0_kept: false,
        interps: exec.interps.clone(),
    }
}

/// Everything before the formats are asked: PIPE-2 to PIPE-17. The open file, the strings, argc.
fn begin(
    exec: &Exec,
    world: &mut dyn World,
    story: &mut Story,
) -> Result<(File, ArgArea, u64), Refusal> {
    let filename = exec.filename();
    bprm::check_name(exec).map_err(|r| r.of(&filename))?;
    if world.facts().nproc_exceeded {
        return Err(Refusal::new(Stage::Path, Reason::ProcessLimit).of(&filename));
    }
    bprm::check_flags(exec, world.facts()).map_err(|r| r.of(&filename))?;
    let follow = exec.flags & bprm::flags::AT_SYMLINK_NOFOLLOW == 0;
    let file = bprm::open_exec(world, story, Stage::Open, exec.at, &exec.path, &filename, follow)?;
    let limits = world.facts().limits;
    let mut args = ArgArea::new(exec.argv.len(), exec.envp.len(), limits)?;
    let room = |s: &[Vec<u8>]| s.iter().map(|x| x.len() + 1).sum::<usize>();
    // Room for all strings, if they are at all reasonable.
    args.reserve((filename.len() + 1 + room(&exec.argv) + room(&exec.envp)).min(8 << 20));
    args.push(&filename, "file name", 0)?;
    for (i, s) in exec.envp.iter().enumerate().rev() {
        args.push(s, "environment string", i)?;
    }
    for (i, s) in exec.argv.iter().enumerate().rev() {
        args.push(s, "argument", i)?;
    }
    let mut argc = exec.argv.len() as u64;
    if argc == 0 {
        args.push(b"", "argument", 0)?;
        argc = 1;
        tell!(story, Stage::Args, "PIPE-17", "there are no arguments: an empty one is added");
    }
    tell!(
        story,
        Stage::Args,
        "PIPE-22",
        "{argc} arguments and {} environment strings take {} bytes",
        exec.envp.len(),
        args.len()
    );
    Ok((file, args, argc))
}

mod aout;

/// What is after the point of no return.
struct Layouter<'w> {
    world: &'w mut dyn World,
    story: Story,
    args: ArgArea,
    argc: u64,
    envc: u64,
    plan: Plan,
    stack_limit: u64,
    /// Number of the kept file's descriptor, if a file is kept (MISC-26).
    execfd: Option<u32>,
    argv0_kept: bool,
}

impl<'w> Layouter<'w> {
    fn new(bprm: Bprm<'w>, image: Image, creds: NewCreds, comm: Vec<u8>) -> Layouter<'w> {
        let Bprm { world, mut story, chain, filename, args, argc, envc, .. } = bprm;
        let facts = world.facts();
        let persona = personality_after(facts.personality & !creds.clear_personality, &image);
        let mut stack_limit = facts.limits.stack;
        if creds.secureexec {
            stack_limit = stack_limit.min(STK_LIM);
        }
        let execfd = bprm.kept.as_ref().map(|kept| {
            let fd = world.free_fd();
            let name = Shown(&kept.path);
            tell!(story, Stage::Misc, "MISC-26", "{name} stays open as descriptor {fd}");
            fd
        });
        let mut this = Layouter {
            plan: Plan {
                filename,
                comm,
                chain,
                image,
                creds,
                personality: persona,
                vmas: Vec::new(),
                mm: MmFields::default(),
                stack: Stack::default(),
                auxv: Auxv::default(),
                registers: Registers::default(),
                ops: Vec::with_capacity(40),
                death: None,
                story: Story::untold(),
            },
            world,
            story,
            args,
            argc,
            envc,
            stack_limit,
            execfd,
            argv0_kept: bprm.argv0_kept,
        };
        this.reset_process(bprm.kept);
        this
    }

    /// The operations on everything but memory, in the order of PIPE-49.
    fn reset_process(&mut self, kept: Option<File>) {
        let facts = self.world.facts();
        let old = facts.creds.clone();
        let (persona, limit) = (facts.personality, facts.limits.stack);
        let plan = &mut self.plan;
        let creds = &plan.creds;
        let set_id = old.euid != old.uid || old.egid != old.gid;
        let dumpable = match !creds.applied && (set_id || creds.reset_dumpable) {
            true => self.world.sysctl(Sysctl::SuidDumpable).min(2) as u8,
            false => 1,
        };
        let ops = &mut plan.ops;
        ops.push(Op::PointOfNoReturn);
        ops.push(Op::EndThreads);
        ops.push(Op::DropMemory);
        ops.push(Op::DeleteTimers);
        if persona != plan.personality {
            ops.push(Op::Personality(plan.personality));
        }
        ops.push(Op::CloseOnExec);
        let applied = creds.applied;
        if !applied && (creds.secureexec || creds.reset_dumpable) {
            ops.push(Op::ClearParentDeathSignal);
        }
        ops.push(Op::DropSignalStack);
        ops.push(Op::Comm(plan.comm.clone()));
        ops.push(Op::ResetSignals);
        if !applied {
            ops.push(Op::Creds);
        }
        if let (Some(file), Some(fd)) = (kept, self.execfd) {
            ops.push(Op::KeepFile { file: file.id, fd });
        }
        if !applied {
            ops.push(Op::Dumpable(dumpable));
        }
        if self.stack_limit < limit {
            ops.push(Op::StackLimit(self.stack_limit));
        }
    }

    /// Lays memory out; a failure becomes the plan's death.
    fn finish(mut self) -> Plan {
        tell!(self.story, Stage::Creds, "PIPE-49", "here lies the point of no return");
        let mut mm = Mm::new(0, 0, false, 0, self.world.facts().limits);
        if let Err(refusal) = self.lay_out(&mut mm) {
            tell!(
                self.story,
                refusal.stage,
                refusal.reason.spec(),
                "the process dies by SIGSEGV: {}",
                refusal.why()
            );
            self.plan.death = Some(refusal);
        }
        self.plan.vmas = mm.vmas().to_vec();
        self.plan.story = self.story;
        self.plan
    }

    fn lay_out(&mut self, mm: &mut Mm) -> Result<(), Refusal> {
        let Layouter { world, story, plan, stack_limit, .. } = self;
        let raw_io = plan.creds.raw_io();
        let arch = plan.image.arch;
        let own = OwnLayout::of(arch, *world);
        let (persona, limit) = (plan.personality, *stack_limit);
        let given =
            own.mmap_base.map(|base| base + room_above(&plan.image, persona, world.facts()));
        let mut layout = Layout::decide(*world, story, arch, persona, limit, raw_io, given);
        if plan.image.aout.is_some() {
            layout.unmoved(world.facts());
        }
        let mut facts = world.facts().clone();
        if !arch.is_host() {
            // What this host's processor has says nothing of another.
            (facts.hwcap, facts.hwcap2, facts.minsigstksz) = (0, None, None);
        }
        let read_implies_exec = persona & personality::READ_IMPLIES_EXEC != 0;
        *mm = layout.new_mm(&facts);
        let mut ops = core::mem::take(&mut plan.ops);

        // The stack and its strings.
        let exec_stack = plan.image.stack_exec.unwrap_or(read_implies_exec);
        let args = core::mem::replace(&mut self.args, ArgArea::empty());
        let args_len = args.lowest_len(self.argc);
        let placed =
            stack::place_strings(args, &layout, &facts, *stack_limit, exec_stack, mm, &mut ops);
        plan.ops = ops;
        let mut stack = placed?;
        (stack.argc, stack.envc) = (self.argc, self.envc);
        stack.args_len = args_len;
        stack.filename = stack.end - crate::args::HOLE - plan.filename.len() as u64 - 1;
        tell!(story, Stage::Stack, "STK-7", "the stack is {}", Range(mm.find(stack.end - 1)));

        if let Some(header) = plan.image.aout {
            let facts = &facts;
            return aout::lay_out(plan, &header, stack, &own.vdso, facts, limit, *world, mm, story);
        }

        // Program and interpreter.
        let mut loader = Loader {
            world: *world,
            mm,
            ops: &mut plan.ops,
            read_implies_exec,
            aligns_huge: arch.aligns_huge(),
        };
        let loaded = loader.program(&plan.image, &layout)?;
        tell!(
            story,
            Stage::Map,
            "ELF-37",
            "{} is mapped with load bias {:#x}",
            Shown(&plan.image.program.file.path),
            loaded.load_bias
        );
        let (base, entry) = match &plan.image.interp {
            Some(interp) => {
                let (base, entry) = loader.interp(interp, loaded.load_bias)?;
                tell!(
                    story,
                    Stage::MapInterp,
                    "ELF-55",
                    "its interpreter {} is mapped at {base:#x}",
                    Shown(&interp.file.path)
                );
                (base, entry)
            }
            None => (0, loaded.entry),
        };

        // The vdso.
        let vdso = place_vdso(&own.vdso, mm, &mut plan.ops)?;
        if let Some(addr) = vdso {
            tell!(story, Stage::Map, "STK-36", "the vdso is at {addr:#x}");
        }

        // The tables.
        let sysinfo = vdso.and_then(|addr| Some(addr.wrapping_add(own.sysinfo?)));
        let execfd = self.execfd.is_some();
        let pairs = Auxv::count(&facts, arch, vdso.is_some(), sysinfo.is_some(), execfd);
        stack::place_tables(&mut stack, arch, &facts, layout.randomize, pairs);
        let header = plan.image.program.header;
        // MISC-25.
        let at_flags = u64::from(self.argv0_kept && facts.since(5, 12));
        plan.auxv = Auxv::build(
            &facts,
            &plan.creds,
            arch,
            &AuxvInput {
                sysinfo,
                sysinfo_ehdr: vdso,
                phdr: loaded.phdr,
                phent: header.e_phentsize.into(),
                phnum: header.e_phnum.into(),
                base,
                flags: at_flags,
                entry: loaded.entry,
                random: stack.random,
                execfn: stack.filename,
                platform: stack.platform,
                execfd: self.execfd.map(u64::from),
            },
        );
        plan.stack = stack;
        let ops = &mut plan.ops;
        let auxv = &plan.auxv;
        let ends = stack::write_tables(&stack, arch, auxv, &facts, *stack_limit, *world, mm, ops)?;

        // The rest.
        let static_pie = plan.image.program.is_dyn() && !plan.image.wants_interp();
        let brk = layout.brk(&facts, loaded.bss_end, static_pie);
        plan.mm = MmFields {
            start_code: loaded.start_code,
            end_code: loaded.end_code,
            start_data: loaded.start_data,
            end_data: loaded.end_data,
            start_brk: brk,
            brk,
            start_stack: stack.rsp,
            arg_start: stack.args,
            arg_end: ends.args,
            env_start: ends.args,
            env_end: ends.env,
        };
        if plan.personality & personality::MMAP_PAGE_ZERO != 0 {
            let prot = Prot::READ | Prot::EXEC;
            // Errors are ignored (ELF-63).
            if mm.map(Place::Fixed(0), PAGE, prot, Backing::Anon).is_ok() {
                plan.ops.push(Op::MapPageZero);
            }
        }
        plan.ops.extend([Op::SetMm, Op::DropRseq, Op::Jump]);
        plan.registers = Registers { rip: arch.pc(entry), rsp: stack.rsp };
        tell!(story, Stage::Map, "ELF-64", "starts at {entry:#x} with rsp {:#x}", stack.rsp);
        Ok(())
    }
}

/// `personality(2)` after the exec, from what is left of the old one (ELF-30).
fn personality_after(mut persona: u32, image: &Image) -> u32 {
    if image.aout.is_some() {
        // AOUT-4; whoever wants nothing randomised is heard.
        return persona & personality::ADDR_NO_RANDOMIZE;
    }
    if !image.arch.read_implies_exec {
        persona &= !personality::READ_IMPLIES_EXEC;
    } else if image.stack_exec.is_none() {
        persona |= personality::READ_IMPLIES_EXEC;
    }
    persona
}

/// What the host lends to the layout of such a task.
struct OwnLayout {
    mmap_base: Option<u64>,
    vdso: Vec<VdsoPart>,
    sysinfo: Option<u64>,
}

impl OwnLayout {
    fn of(arch: &Arch, world: &mut dyn World) -> OwnLayout {
        if arch.is(&X86_64) {
            let facts = world.facts();
            return OwnLayout {
                mmap_base: facts.mmap_base,
                vdso: facts.vdso.clone(),
                sysinfo: None,
            };
        }
        if !arch.is_host() {
            return OwnLayout { mmap_base: None, vdso: Vec::new(), sysinfo: None };
        }
        let ia32 = world.ia32().unwrap_or_default();
        let sysinfo = arch.sysinfo.then_some(ia32.sysinfo);
        OwnLayout { mmap_base: ia32.mmap_base, vdso: ia32.vdso, sysinfo }
    }
}

/// How far above the vdso mappings end so that it can stay: what the interpreter takes. Large ones
/// are aligned in ways of their own (ELF-48).
fn room_above(image: &Image, persona: u32, facts: &Facts) -> u64 {
    let fixed = persona & personality::ADDR_NO_RANDOMIZE != 0 || !image.arch.is(&X86_64);
    let size = match &image.interp {
        Some(interp) if facts.vdso_stays && !fixed && interp.is_dyn() => interp.total_size(),
        _ => return 0,
    };
    // The kernel keeps at least 128 MiB free for the stack there.
    size.checked_next_multiple_of(PAGE).filter(|size| *size < PMD_SIZE).unwrap_or(0)
}

/// STK-36: one free search for the whole block.
fn place_vdso(parts: &[VdsoPart], mm: &mut Mm, ops: &mut Vec<Op>) -> Result<Option<u64>, Refusal> {
    let pages = |p: &VdsoPart| p.len.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
    let size = parts.iter().fold(0, |sum: u64, p| sum.saturating_add(pages(p)));
    if size == 0 {
        return Ok(None);
    }
    // No limit counts it.
    let none = || Refusal::new(Stage::Map, Reason::NoAddressSpace { addr: 0, len: size });
    let start = mm.search(0, size).ok_or_else(none)?;
    let (mut at, mut vdso) = (start, start);
    for p in parts {
        vdso = at;
        at = at.saturating_add(pages(p));
        let backing = Backing::Special(p.name.clone());
        mm.insert(Vma { start: vdso, end: at, prot: p.prot, backing, grows_down: false });
    }
    ops.push(Op::MapVdso { addr: start });
    Ok(Some(vdso))
}

/// Start and end of a mapping, for the story.
struct Range<'a>(Option<&'a Vma>);

impl core::fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(v) => write!(f, "{:#x}-{:#x}", v.start, v.end),
            None => f.write_str("nowhere"),
        }
    }
}
