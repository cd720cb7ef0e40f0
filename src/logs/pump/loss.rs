//! Bookkeeping of bytes that could not be kept.

/// A file that failed is tried again this much later, when there is something to write.
const RETRY_US: u64 = 1_000_000;

/// Losses are told at most this often.
const TELL_US: u64 = 1_000_000;

/// A stream's losses since its file failed.
#[derive(Debug, Default)]
pub(super) struct Loss {
    /// When the file is tried again; none: it works.
    retry_us: Option<u64>,
    bytes: u64,
    notice: Option<String>,
    told_us: Option<u64>,
    reason: String,
}

impl Loss {
    /// The file failed; bytes are counted until it works again.
    pub(super) fn failed(&mut self, reason: String, now_us: u64) {
        self.retry_us = Some(now_us + RETRY_US);
        self.reason = reason;
    }

    /// `bytes` were not kept.
    pub(super) fn lost(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Something failed without losing a byte.
    pub(super) fn notice(&mut self, text: String) {
        self.notice = Some(text);
    }

    /// The file works again.
    pub(super) fn recovered(&mut self) {
        self.retry_us = None;
    }

    /// Whether bytes before the next one are missing.
    pub(super) fn is_failing(&self) -> bool {
        self.retry_us.is_some()
    }

    /// Whether the file should not even be tried now.
    pub(super) fn waits(&self, now_us: u64) -> bool {
        self.retry_us.is_some_and(|retry| now_us < retry)
    }

    /// When there is something to tell; none: nothing.
    pub(super) fn due_us(&self) -> Option<u64> {
        let something = self.bytes > 0 || self.notice.is_some();
        something.then(|| self.told_us.map_or(0, |told| told + TELL_US))
    }

    /// What to tell, through `tell`, which answers whether it was taken; what was not taken stays.
    pub(super) fn report(&mut self, now_us: u64, tell: impl Fn(u64, &str) -> bool) {
        if self.bytes > 0 && tell(self.bytes, &self.reason) {
            self.bytes = 0;
        }
        if self.notice.as_ref().is_some_and(|text| tell(0, text)) {
            self.notice = None;
        }
        self.told_us = Some(now_us);
    }
}
