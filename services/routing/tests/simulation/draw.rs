//! Chance with a seed, and what chance may look like: a generator of our own, so that a printed seed means the same for
//! ever, and Pearson's test.

use hilo_routing::domain::Span;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 for 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn one_of<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len() as u64) as usize).cloned()
    }

    /// Exponentially distributed around a mean, as times between arrivals are.
    pub fn around(&mut self, mean: Span) -> Span {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        Span((-(1.0 - uniform).ln() * mean.0 as f64) as i64)
    }

    pub fn up_to(&mut self, most: Span) -> Span {
        Span(self.below(most.0 as u64) as i64)
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

/// How often each place was drawn, by the number of places.
#[derive(Default)]
pub struct Tally(std::collections::BTreeMap<usize, Vec<u32>>);

impl Tally {
    pub fn note(&mut self, place: usize, of: usize) {
        let counts = self.0.entry(of).or_insert_with(|| vec![0; of]);
        counts[place] += 1;
    }

    /// Standard normal score of Pearson's chi-square over all sizes (Wilson and Hilferty 1931); `None` where too little was
    /// drawn: five expected per cell is the usual least.
    pub fn score(&self) -> Option<f64> {
        let (mut square, mut freedom) = (0.0, 0.0);
        for (places, counts) in &self.0 {
            let expected = f64::from(counts.iter().sum::<u32>()) / *places as f64;
            if *places > 1 && expected >= 5.0 {
                square +=
                    counts.iter().map(|seen| (f64::from(*seen) - expected).powi(2) / expected).sum::<f64>();
                freedom += *places as f64 - 1.0;
            }
        }
        let ninth = 2.0 / (9.0 * freedom);
        (freedom > 0.0).then(|| ((square / freedom).cbrt() - (1.0 - ninth)) / ninth.sqrt())
    }
}

/// The score which chance exceeds once in 1,000 times.
pub const P_001: f64 = 3.090_232;
