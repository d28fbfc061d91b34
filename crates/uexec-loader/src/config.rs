//! What a loader is told beforehand, in a page of its image. Neither environment nor arguments could
//! carry it: both belong to the program.

use alloc::vec::Vec;

/// Where the page begins with this, nobody has written to it.
pub const MAGIC: [u8; 32] = *b"\0uexec-loader: what it is told\0\0";
/// Length of the page in bytes.
pub const LEN: usize = 4096;

/// Magic, type and mask of a `binfmt_misc` rule for every native program but the loader itself,
/// with the delimiters around them: the four bytes of an ELF file, no mark in the last byte of
/// `e_ident`, and x86-64.
pub const RULE: &str = ":M::\\x7fELF\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x3e\\x00:\
\\xff\\xff\\xff\\xff\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xff\\x00\\x00\\xff\\xff:";

/// What a loader is told.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Config {
    /// Program interpreters to be used in place of others: old, new.
    pub interps: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Config {
    /// As it stands in the page behind [`MAGIC`]; `None` when it does not fit.
    ///
    /// ```
    /// use uexec_loader::config::Config;
    /// let config = Config { interps: vec![(b"/old".to_vec(), b"/new".to_vec())] };
    /// assert_eq!(Config::decode(&config.encode().unwrap()), config);
    /// assert_eq!(Config::decode(&[0; 64]), Config::default());
    /// ```
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for text in self.interps.iter().flat_map(|(old, new)| [old, new]) {
            // Nothing is as long as 0: that ends the list.
            let len = u16::try_from(text.len()).ok().filter(|n| *n > 0)?;
            out.extend(len.to_le_bytes());
            out.extend(text);
        }
        (MAGIC.len() + out.len() + 2 <= LEN).then_some(out)
    }

    /// Reads it; what cannot be read is not there.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Config {
        let mut text = || {
            let (len, rest) = bytes.split_first_chunk::<2>()?;
            let len = usize::from(u16::from_le_bytes(*len));
            let found = rest.get(..len).filter(|t| !t.is_empty())?;
            bytes = rest.get(len..)?;
            Some(found.to_vec())
        };
        let pairs = core::iter::from_fn(|| Some((text()?, text()?)));
        Config { interps: pairs.collect() }
    }
}
