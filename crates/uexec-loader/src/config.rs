//! What a loader is told beforehand, in pages of its image. Neither environment nor arguments could
//! carry it: both belong to the program.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use uexec_core::binfmt::misc::{Misc, parse};
use uexec_core::{ALL_FORMATS, KERNEL_FORMATS, Registry};
use uexec_linux::Known;

/// Where the pages begin with this, nobody has written to them.
pub const MAGIC: [u8; 32] = *b"\0uexec-loader: what it is told\0\0";
/// Length of the pages in bytes. Rules with long masks take 250 bytes each.
pub const LEN: usize = 16384;

/// The text of a `binfmt_misc` rule that hands every native program but the loader itself to
/// `interpreter`, an executable file with the [image](crate::IMAGE).
///
/// It takes what the kernel's own ELF format takes, as far as a rule can say it: what that refuses
/// is refused to the caller, as the loader could not do any more (ELF-3 to ELF-6): the four bytes of
/// an ELF file, `ET_EXEC` or `ET_DYN`, x86-64, and program headers of 56 bytes. No mark in the last
/// byte of `e_ident` tells it from the loader.
///
/// The flags: the file as a descriptor, and its credentials; `argv[0]` kept; the loader opened now,
/// once for all.
///
/// ```
/// let rule = uexec_loader::config::rule("native", "/loader");
/// assert!(rule.starts_with(r":native:M::\x7f\x45\x4c\x46\x00"));
/// assert!(rule.ends_with(":/loader:OCPF"));
/// ```
#[must_use]
pub fn rule(name: &str, interpreter: &str) -> String {
    text(name, interpreter, 62, (54, 56))
}

/// The same for i386 programs: program headers of 32 bytes.
#[must_use]
pub fn rule_i386(name: &str, interpreter: &str) -> String {
    text(name, interpreter, 3, (42, 32))
}

/// For one machine; `phentsize`: where the size of program headers stands, and what it is.
fn text(name: &str, interpreter: &str, machine: u8, phentsize: (usize, u8)) -> String {
    const IDENT_LEN: usize = 16;
    let mut magic = [0u8; 56];
    let mut mask = [0u8; 56];
    let mut want = |at: usize, bytes: &[u8], with: &[u8]| {
        for (i, (byte, bits)) in bytes.iter().zip(with).enumerate() {
            if let (Some(m), Some(k)) = (magic.get_mut(at + i), mask.get_mut(at + i)) {
                (*m, *k) = (*byte, *bits);
            }
        }
    };
    want(0, b"\x7fELF", &[0xff; 4]);
    want(IDENT_LEN - 1, &[0], &[0xff]); // the mark
    want(16, &[2, 0], &[0xfe, 0xff]); // e_type
    want(18, &[machine, 0], &[0xff; 2]); // e_machine
    want(phentsize.0, &[phentsize.1, 0], &[0xff; 2]); // e_phentsize
    let text = |bytes: &[u8]| bytes.iter().map(|b| format!("\\x{b:02x}")).collect::<String>();
    format!(":{name}:M::{}:{}:{interpreter}:OCPF", text(&magic), text(&mask))
}

/// What a loader is told.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Config {
    /// What it need not ask the kernel for.
    pub known: Option<Known>,
    /// Program interpreters to be used in place of others: old, new.
    pub interps: Vec<(Vec<u8>, Vec<u8>)>,
    /// Rules in the syntax of `binfmt_misc`, oldest first.
    pub rules: Vec<Vec<u8>>,
    /// Whether it loads what the kernel has lost, a.out programs.
    pub lost_formats: bool,
    /// What is to be executed, where arguments and environment are the program's already.
    pub call: Option<Call>,
}

/// An exec as it was called, but for its arguments and environment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Call {
    /// The descriptor that a relative path starts from; `None`: the current directory.
    pub dir: Option<i32>,
    /// That descriptor is to be gone when the program starts.
    pub close: bool,
    /// `AT_…` flags of `execveat(2)`.
    pub flags: u32,
    /// The path.
    pub path: Vec<u8>,
}

impl Call {
    /// As it stands behind a [`Config`] without one; `None` when the path is too long to be one.
    ///
    /// ```
    /// use uexec_loader::config::{Call, Config};
    /// let call = Call { path: b"/bin/true".to_vec(), ..Call::default() };
    /// let mut bytes = Config::default().encode().unwrap();
    /// bytes.extend(call.encode().unwrap());
    /// assert_eq!(Config::decode(&bytes).call, Some(call));
    /// ```
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let Call { dir, close, flags, path } = self;
        let mut out = alloc::vec![1, (*close).into()];
        out.extend(dir.unwrap_or(-1).to_le_bytes());
        out.extend(flags.to_le_bytes());
        out.extend(u16::try_from(path.len()).ok()?.to_le_bytes());
        out.extend(path);
        Some(out)
    }
}

impl Config {
    /// As it stands in the pages behind [`MAGIC`]; `None` when it does not fit.
    ///
    /// ```
    /// use uexec_loader::config::{Call, Config};
    /// use uexec_linux::{Host, Known};
    /// let known = Known::of(&mut Host::new());
    /// let interps = vec![(b"/old".to_vec(), b"/new".to_vec())];
    /// let rules = vec![b":x:E::x::/bin/x:".to_vec()];
    /// let call = Some(Call { dir: Some(3), path: b"prog".to_vec(), ..Call::default() });
    /// let config = Config { known, interps, rules, lost_formats: true, call };
    /// assert_eq!(Config::decode(&config.encode().unwrap()), config);
    /// assert_eq!(Config::decode(&[0; 64]), Config::default());
    /// ```
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let known = self.known.as_ref().map(Known::encode).unwrap_or_default();
        out.extend(u16::try_from(known.len()).ok()?.to_le_bytes());
        out.extend(known);
        let mut list = |texts: &mut dyn Iterator<Item = &Vec<u8>>| {
            for text in texts {
                // Nothing is as long as 0: that ends the list.
                let len = u16::try_from(text.len()).ok().filter(|n| *n > 0)?;
                out.extend(len.to_le_bytes());
                out.extend(text);
            }
            out.extend([0; 2]);
            Some(())
        };
        list(&mut self.interps.iter().flat_map(|(old, new)| [old, new]))?;
        list(&mut self.rules.iter())?;
        out.push(self.lost_formats.into());
        if let Some(call) = &self.call {
            out.extend(call.encode()?);
        }
        (MAGIC.len() + out.len() <= LEN).then_some(out)
    }

    /// Reads it; what cannot be read is not there.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Config {
        let mut next = || {
            let (len, rest) = bytes.split_first_chunk::<2>()?;
            let (found, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
            bytes = rest;
            Some(found)
        };
        let known = next().and_then(Known::decode);
        let mut text = || next().filter(|t| !t.is_empty()).map(<[u8]>::to_vec);
        let interps = core::iter::from_fn(|| Some((text()?, text()?))).collect();
        let rules = core::iter::from_fn(&mut text).collect();
        let lost_formats = take(&mut bytes) == Some([1]);
        Config { known, interps, rules, lost_formats, call: call(&mut bytes) }
    }

    /// The rules as an instance; what is none is passed over.
    #[must_use]
    pub fn misc(&self) -> Misc {
        let mut misc = Misc::default();
        for rule in self.rules.iter().filter_map(|text| parse(text).ok()) {
            let _ = misc.add(rule);
        }
        misc
    }

    /// The formats that are asked, after these rules.
    pub fn formats<'a>(&self, rules: &'a Misc) -> Registry<'a> {
        let mut formats = if self.lost_formats { ALL_FORMATS } else { KERNEL_FORMATS };
        if !rules.is_empty() {
            formats.insert(rules);
        }
        formats
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

fn call(bytes: &mut &[u8]) -> Option<Call> {
    let [1, close] = take(bytes)? else { return None };
    let dir = i32::from_le_bytes(take(bytes)?);
    let flags = u32::from_le_bytes(take(bytes)?);
    let len = usize::from(u16::from_le_bytes(take(bytes)?));
    let path = bytes.get(..len)?.to_vec();
    Some(Call { dir: (dir >= 0).then_some(dir), close: close != 0, flags, path })
}
