//! Sizes as people say them.

/// Bytes in the largest unit that leaves at most four digits: `408 B`, `12 K`, `1.5 M`.
pub(crate) fn human(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    match units.iter().find(|(bits, _)| bytes >> bits > 0) {
        None => format!("{bytes} B"),
        Some((bits, unit)) => {
            let whole = bytes as f64 / (1u64 << bits) as f64;
            let text = if whole < 10.0 { format!("{whole:.1}") } else { format!("{whole:.0}") };
            format!("{} {unit}", text.trim_end_matches(".0"))
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes() {
        let all = [0, 408, 4096, 15705, 1 << 20, 3 << 29, 1 << 40];
        let want = ["0 B", "408 B", "4 K", "15 K", "1 M", "1.5 G", "1 T"];
        assert_eq!(all.map(super::human), want);
    }
}
