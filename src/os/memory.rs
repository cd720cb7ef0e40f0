//! Our own memory.
#![expect(unsafe_code, reason = "malloc_trim and madvise have no safe wrapper")]

/// Gives memory that a burst of work needed back to the system; takes about 0.1 ms. Does nothing where the C library
/// has no such call.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives back what starting up needed, code included: pages of the program that are needed again are mapped again
/// from the page cache, and those that are not stay out of our resident memory. Takes some 0.2 ms.
pub fn slim_down() {
    give_back();
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in maps.lines().filter_map(code_of_a_file) {
        // SAFETY: the range is code mapped privately from a file and never written to (`r-xp`), so dropping its pages
        // loses nothing: the next use maps the same bytes of the file again.
        unsafe {
            libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
}

/// Start and length of a mapping that holds code of a file.
fn code_of_a_file(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights) = (words.next()?, words.next()?);
    let from_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    (rights == "r-xp" && from_file).then_some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_given_back() {
        for (line, found) in [
            ("55d0c000-55d0e000 r-xp 00002000 fe:00 1234   /usr/bin/everup", Some((0x55d0_c000, 0x2000))),
            ("55d0c000-55d0e000 r--p 00002000 fe:00 1234   /usr/bin/everup", None),
            ("55d0c000-55d0e000 rwxp 00002000 fe:00 1234   /usr/bin/everup", None),
            ("7ffd1000-7ffd3000 r-xp 00000000 00:00 0      [vdso]", None),
            ("7ffd1000-7ffd3000 r-xp 00000000 00:00 0", None),
            ("", None),
        ] {
            assert_eq!(code_of_a_file(line), found, "{line}");
        }
    }

    #[test]
    fn life_goes_on_without_the_pages() {
        slim_down();
        assert_eq!(format!("{:?}", [1, 2, 3].map(|n| n * 2)), "[2, 4, 6]");
    }
}
