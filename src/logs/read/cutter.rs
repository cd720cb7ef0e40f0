//! Cuts a stream of bytes into lines, the same whatever pieces the bytes come in.

use crate::logs::LONGEST_LINE;

/// Holds the line that has begun.
#[derive(Debug)]
pub(super) struct Cutter {
    start: u64,
    pending: Vec<u8>,
}

impl Cutter {
    /// Begins with the byte at `offset`, taken as the start of a line.
    pub(super) fn at(offset: u64) -> Self {
        Self { start: offset, pending: Vec::new() }
    }

    /// Where the line that has begun starts.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Where the next byte belongs.
    pub(super) fn next(&self) -> u64 {
        self.start + self.pending.len() as u64
    }

    /// What there is of the line that has begun.
    pub(super) fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Takes the next bytes; `each` gets the offset and bytes of every line that is complete: by its newline, by its
    /// length, or because one of `breaks` (ascending offsets) says that a new line begins.
    pub(super) fn feed(&mut self, mut bytes: &[u8], breaks: &[u64], each: &mut impl FnMut(u64, &[u8])) {
        loop {
            let next = self.next();
            let boundary = breaks[breaks.partition_point(|at| *at <= self.start)..].first().copied();
            if boundary.is_some_and(|at| at <= next) {
                self.close(each);
                continue;
            }
            if bytes.is_empty() {
                return;
            }
            let until_break = boundary.map_or(usize::MAX, |at| usize::try_from(at - next).unwrap_or(usize::MAX));
            // One byte more than the longest line may be the newline that ends it.
            let window = bytes.len().min(until_break).min(LONGEST_LINE + 1 - self.pending.len());
            let Some(newline) = bytes[..window].iter().position(|byte| *byte == b'\n') else {
                self.pending.extend(&bytes[..window]);
                bytes = &bytes[window..];
                self.split(each);
                continue;
            };
            if self.pending.is_empty() {
                each(self.start, &bytes[..newline]);
            } else {
                self.pending.extend(&bytes[..newline]);
                each(self.start, &self.pending);
                self.pending.clear();
            }
            self.start = next + newline as u64 + 1;
            bytes = &bytes[newline + 1..];
        }
    }

    /// Gives away the front of a line that is too long.
    fn split(&mut self, each: &mut impl FnMut(u64, &[u8])) {
        if self.pending.len() > LONGEST_LINE {
            let cut = piece(&self.pending);
            each(self.start, &self.pending[..cut]);
            self.pending.drain(..cut);
            self.start += cut as u64;
        }
    }

    /// Ends the line that has begun, if it has.
    pub(super) fn close(&mut self, each: &mut impl FnMut(u64, &[u8])) {
        if !self.pending.is_empty() {
            each(self.start, &self.pending);
            self.start += self.pending.len() as u64;
            self.pending.clear();
        }
    }
}

/// Where a line that is too long is split: at the limit, or up to three bytes before, between two characters.
fn piece(bytes: &[u8]) -> usize {
    let inside = |at: usize| bytes[at] & 0b1100_0000 == 0b1000_0000;
    (LONGEST_LINE - 3..=LONGEST_LINE).rev().find(|at| !inside(*at)).unwrap_or(LONGEST_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]], breaks: &[u64]) -> (Vec<(u64, Vec<u8>)>, Vec<u8>) {
        let mut cutter = Cutter::at(0);
        let mut lines = Vec::new();
        for piece in pieces {
            cutter.feed(piece, breaks, &mut |at, line| lines.push((at, line.to_vec())));
        }
        (lines, cutter.pending().to_vec())
    }

    #[test]
    fn a_line_ends_with_its_newline_or_at_a_break() {
        let (lines, rest) = cut(&[b"one\n\ntw", b"o\nthree"], &[0, 4, 10, 12]);
        let expected: [(u64, &[u8]); 4] = [(0, b"one"), (4, b""), (5, b"two"), (9, b"t")];
        let expected: Vec<_> =
            expected.iter().map(|(at, line)| (*at, line.to_vec())).chain([(10, b"hr".to_vec())]).collect();
        assert_eq!((lines, rest), (expected, b"ee".to_vec()));
    }

    #[test]
    fn a_long_line_is_split_between_characters() {
        let long = "\u{20ac}".repeat(LONGEST_LINE / 3 + 2);
        let (lines, rest) = cut(&[long.as_bytes(), b"\n"], &[]);
        assert_eq!((lines[0].1.len(), rest.len()), (LONGEST_LINE / 3 * 3, 0));
        assert!(lines.iter().all(|(_, line)| std::str::from_utf8(line).is_ok()));
        let exact = "x".repeat(LONGEST_LINE) + "\n";
        assert_eq!(cut(&[exact.as_bytes()], &[]).0.len(), 1, "a line of exactly the limit is whole");
    }

    proptest::proptest! {
        #[test]
        fn pieces_make_no_difference(
            parts in proptest::collection::vec("[a\n]{0,9}", 0..9),
            breaks in proptest::collection::btree_set(0_u64..80, 0..5),
        ) {
            let breaks: Vec<u64> = breaks.into_iter().collect();
            let pieces: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            let whole = parts.concat();
            proptest::prop_assert_eq!(cut(&pieces, &breaks), cut(&[whole.as_bytes()], &breaks));
        }
    }
}
