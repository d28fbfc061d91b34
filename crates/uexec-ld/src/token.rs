//! `$ORIGIN`, `$LIB`, `$PLATFORM` in paths (`ld.so(8)`, "Dynamic string tokens").

/// What the tokens mean for one object.
pub(crate) struct Tokens<'a> {
    /// Directory of the object; none in secure mode where it may not be used.
    pub(crate) origin: Option<&'a [u8]>,
    pub(crate) lib: &'a [u8],
    pub(crate) platform: &'a [u8],
}

/// Expanded paths are no longer than this; longer ones lead nowhere.
const MAX_EXPANDED: usize = 1 << 16;

impl Tokens<'_> {
    /// The path with its tokens replaced; `None` where one has no meaning here, as such a path
    /// is left out.
    pub(crate) fn expand(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(path.len());
        let mut rest = path;
        while let Some(at) = rest.iter().position(|b| *b == b'$') {
            let (before, tail) = rest.split_at(at);
            out.extend_from_slice(before);
            let names = [
                (b"ORIGIN".as_slice(), self.origin),
                (b"LIB", Some(self.lib)),
                (b"PLATFORM", Some(self.platform)),
            ];
            let found = names.iter().find_map(|(n, value)| Some((token(tail, n)?, value)));
            let Some((len, value)) = found else {
                // No token: a dollar is a dollar.
                out.push(b'$');
                rest = tail.get(1..)?;
                continue;
            };
            out.extend_from_slice((*value)?);
            if out.len() > MAX_EXPANDED {
                return None;
            }
            rest = tail.get(len..)?;
        }
        out.extend_from_slice(rest);
        Some(out)
    }
}

/// Length of `$NAME` or `${NAME}` at the start. Without braces, a name goes as far as letters,
/// digits and underscores go.
fn token(text: &[u8], name: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(b"$")?;
    if let Some(inner) = rest.strip_prefix(b"{") {
        return inner.strip_prefix(name)?.starts_with(b"}").then_some(name.len() + 3);
    }
    let after = rest.strip_prefix(name)?.first();
    let ends = after.is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_');
    ends.then_some(name.len() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let mut t = Tokens { origin: Some(b"/o"), lib: b"lib64", platform: b"p" };
        let expand =
            |t: &Tokens<'_>, s: &str| t.expand(s.as_bytes()).map(|v| String::from_utf8(v).unwrap());
        assert_eq!(expand(&t, "$ORIGIN/../${LIB}/$PLATFORM").unwrap(), "/o/../lib64/p");
        assert_eq!(expand(&t, "$ORIGINAL/${LIB/$").unwrap(), "$ORIGINAL/${LIB/$");
        t.origin = None;
        assert_eq!(expand(&t, "$ORIGIN/x"), None);
        assert_eq!(expand(&t, "/x").unwrap(), "/x");
    }
}
