//! Records in a file that lives in memory: each batch is there whole, or not at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Length and checksum before each batch.
const HEAD: usize = 8;
/// No batch is longer: what claims to be was never written by us.
const LONGEST: usize = 256 << 20;

/// Writes one batch at `offset`; how long it has become with its head.
///
/// # Errors
/// When it cannot be encoded, or the kernel has no memory for it.
pub(super) fn write<T: Serialize>(file: &File, offset: u64, batch: &[T]) -> io::Result<u64> {
    let mut bytes = vec![0; HEAD];
    serde_json::to_writer(&mut bytes, batch)?;
    let (head, text) = bytes.split_at_mut(HEAD);
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&checksum(text).to_le_bytes());
    file.write_all_at(&bytes, offset)?;
    Ok(bytes.len() as u64)
}

/// Reads all batches from the beginning, up to the first that is not whole: its writer died over it.
///
/// # Errors
/// When a batch that is whole cannot be understood: another version wrote it.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, serde_json::Error> {
    let mut records = vec![];
    let mut rest = bytes;
    while let Some((text, after)) = first(rest) {
        records.extend(serde_json::from_slice::<Vec<T>>(text)?);
        rest = after;
    }
    Ok(records)
}

fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(word(0)?).ok().filter(|length| (1..=LONGEST).contains(length))?;
    let (text, rest) = rest.split_at_checked(length)?;
    (checksum(text) == word(4)?).then_some((text, rest))
}

/// FNV-1a: enough to tell a batch from half of one.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(batches: &[&[u32]]) -> Vec<u8> {
        let file = tempfile::tempfile().unwrap();
        let mut length = 0;
        for batch in batches {
            length += write(&file, length, batch).unwrap();
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn batches_read_back_in_order_and_half_a_batch_is_none() {
        let bytes = written(&[&[1, 2], &[3], &[4, 5, 6]]);
        assert_eq!(read::<u32>(&bytes).unwrap(), [1, 2, 3, 4, 5, 6]);
        let second = written(&[&[1, 2], &[3]]).len();
        for cut in second..bytes.len() {
            assert_eq!(read::<u32>(&bytes[..cut]).unwrap(), [1, 2, 3], "{cut}");
        }
    }

    #[test]
    fn what_was_damaged_ends_the_reading_and_what_is_foreign_is_an_error() {
        let mut bytes = written(&[&[1], &[2], &[3]]);
        let at = written(&[&[1]]).len() + HEAD + 1;
        bytes[at] ^= 1;
        assert_eq!(read::<u32>(&bytes).unwrap(), [1]);
        assert!(read::<String>(&bytes).is_err());
        assert_eq!(read::<u32>(&[0xff; 64]).unwrap(), [0_u32; 0]);
    }
}
