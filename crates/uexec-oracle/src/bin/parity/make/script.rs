//! `#!` lines of every shape, one to seven in a row.

use std::io;

use uexec_oracle::launch::Exec;

use super::{Maker, bytes_of};

/// A script, whose interpreter may be a script, and so on.
pub(crate) fn scripts(m: &mut Maker<'_>) -> io::Result<Exec> {
    let levels = if m.rng.percent(30) { m.rng.between(2, 7) } else { 1 };
    let mut interp = match m.rng.below(14) {
        0 => m.path("nowhere"),
        1 => m.path(""),
        2 => m.path("script0"),
        3 => ["", ".", "/dev/null", "tiny", "/bin/true/x", "/proc/version"]
            [m.rng.below(6) as usize]
            .into(),
        4..=9 => m.write("tiny", m.bases.tiny())?,
        10 => m.write("interp", b"text\n")?,
        _ => m.bases.small(&mut m.rng),
    };
    let mut path = interp.clone();
    for level in 0..levels {
        let odd = level + 1 == levels && m.rng.percent(80) || m.rng.percent(15);
        let line = line(m, bytes_of(&interp), odd);
        m.tell(format!("{:?}", String::from_utf8_lossy(&line)));
        path = m.write(&format!("script{level}"), &line)?;
        interp.clone_from(&path);
    }
    Ok(Exec::new(path))
}

fn blanks(m: &mut Maker<'_>) -> Vec<u8> {
    let count = match m.rng.below(12) {
        0 => m.rng.below(300),
        1..=4 => 0,
        _ => m.rng.between(1, 3),
    };
    (0..count).map(|_| *m.rng.pick(b" \t ")).collect()
}

fn line(m: &mut Maker<'_>, name: &[u8], odd: bool) -> Vec<u8> {
    if !odd {
        let arg: &[u8] = [&b""[..], b" x", b" -a b "][m.rng.below(3) as usize];
        return [b"#!", name, arg, b"\n"].concat();
    }
    let mut line = b"#!".to_vec();
    if m.rng.percent(5) {
        line = [&b" #!"[..], b"# !", b"\xef\xbb\xbf#!", b"#", b"", b"!#", b"#!\0"]
            [m.rng.below(7) as usize]
            .to_vec();
    }
    line.extend(blanks(m));
    match m.rng.below(12) {
        // A name that ends just inside or outside the bytes that are looked at.
        0 => stretch(m, &mut line, name),
        1 => {}
        _ => line.extend(name),
    }
    for _ in 0..m.rng.below(4) {
        line.extend(blanks(m));
        match m.rng.below(10) {
            0 => line.extend(vec![b'y'; m.rng.below(300) as usize]),
            1 => line.push(0),
            2 => line.push(b'\r'),
            3 => line.extend([0x80, 0xff, 0x0b, 0x0c]),
            4 => line.extend(blanks(m)),
            5 => line.push(b'\n'),
            _ => line.extend(b"-arg"),
        }
    }
    line.extend(blanks(m));
    match m.rng.below(5) {
        0 => {}
        1 => line.extend(b"\0rest\n"),
        2 => line.extend(b"\r\n"),
        _ => line.extend(b"\nrest of it\n"),
    }
    if m.rng.percent(8) {
        let len = m.rng.between(250, 260) as usize;
        line.resize(len, *m.rng.pick(b"y \n\0/"));
    }
    line
}

/// The name made longer by slashes, so that it ends at an edge.
fn stretch(m: &mut Maker<'_>, line: &mut Vec<u8>, name: &[u8]) {
    let end = m.rng.between(251, 258) as usize;
    let file = name.iter().rposition(|b| *b == b'/').unwrap_or(0);
    let (head, tail) = name.split_at(file.min(name.len()));
    if !tail.starts_with(b"/") || line.len() + name.len() > end {
        line.extend(name);
        return;
    }
    line.extend(head);
    line.extend(vec![b'/'; end - line.len() - tail.len()]);
    line.extend(tail);
}
