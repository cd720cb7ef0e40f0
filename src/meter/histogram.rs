//! How often something took how long.

/// Buckets for what takes milliseconds (probes, requests), in seconds.
pub const QUICK: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets for what takes seconds (starts, stops, reloads), in seconds.
pub const SLOW: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Counts of durations by size. Nothing in it ever goes down.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound and one for what lies above the last.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// One that has seen nothing; `bounds` are the buckets' inclusive upper ends, ascending.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Takes one duration, in seconds. What is no duration is passed over.
    pub fn observe(&mut self, seconds: f64) {
        if !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        let slot = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get_mut(slot) {
            *count += 1;
            self.sum += seconds;
        }
    }

    /// All durations together, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bucket's upper end, the last one infinite, with how many fell into it and into none below it.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for seconds in [0.0, 0.1, 0.100_001, 1.0, 1.5, f64::NAN, -1.0, f64::INFINITY] {
            histogram.observe(seconds);
        }
        assert_eq!(histogram.buckets(), [(0.1, 2), (1.0, 2), (f64::INFINITY, 1)]);
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum() - 2.700_001).abs() < 1e-9);
    }
}
