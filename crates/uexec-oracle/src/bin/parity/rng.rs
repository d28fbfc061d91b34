//! Draws that come again with their seed: `SplitMix64`. Good enough to be odd, no more.

/// A sequence of draws.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
    /// Addresses of i386 programs are drawn, not those of 64-bit ones.
    pub(crate) i386: bool,
}

impl Rng {
    /// The draws of one case: every case has its own, so that it comes again without the others.
    pub(crate) fn of_case(seed: u64, case: u64) -> Rng {
        let mut rng = Rng { state: seed ^ 0x5851_f42d_4c95_7f2d, i386: false };
        rng.state = rng.word() ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        rng
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`, which is not 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.word() % n
    }

    /// From `from` to `to`, both included.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// A number that programs rarely hold and loaders trip over; `near` are others of the file.
    pub(crate) fn odd(&mut self, near: &[u64]) -> u64 {
        const EDGES: [u64; 15] = [
            0,
            0x1000,
            0x1_0000,
            0x20_0000,
            0x40_0000,
            1 << 31,
            1 << 32,
            0x5555_5555_4000,
            0x7fff_f7ff_f000,
            0x7fff_ffff_f000,
            1 << 47,
            1 << 56,
            1 << 63,
            0xffff_ffff_ffff_f000,
            0x7fff_ffff_ffff_f000,
        ];
        const EDGES_I386: [u64; 15] = [
            0,
            0x1000,
            0x1_0000,
            0x20_0000,
            0x804_8000,
            0x5655_5000,
            0x8000_0000,
            0xc000_0000,
            0xf7ff_e000,
            0xffff_d000,
            0xffff_e000,
            0xffff_f000,
            0xffff_ffff,
            0x7fff_f000,
            0x5555_5000,
        ];
        let edges = if self.i386 { &EDGES_I386 } else { &EDGES };
        let by = |rng: &mut Rng, x: u64| match rng.below(8) {
            0 => x.wrapping_add(1),
            1 => x.wrapping_sub(1),
            2 => x.wrapping_add(0x1000),
            3 => x.wrapping_sub(0x1000),
            4 => x.wrapping_add(rng.below(0x3000)),
            _ => x,
        };
        match self.below(10) {
            0..=3 => {
                let x = *self.pick(edges);
                by(self, x)
            }
            4..=6 if !near.is_empty() => {
                let x = *self.pick(near);
                by(self, x)
            }
            7 | 8 => self.below(0x4000),
            _ => {
                let shift = self.below(64);
                self.word() >> shift
            }
        }
    }
}
