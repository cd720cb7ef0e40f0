//! Receives one message of a socket with all that the kernel attaches to it.
#![expect(unsafe_code, reason = "descriptors that arrive in a message are new to this process")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    /// How many bytes were written to the buffer.
    pub(super) length: usize,
    /// The descriptors that came along, close-on-exec.
    pub(super) fds: Vec<OwnedFd>,
    /// Who sent it, where the socket asks for that.
    pub(super) sender: Option<libc::ucred>,
    /// Bytes or descriptors were lost: the buffer was too small, or no descriptor was free.
    pub(super) truncated: bool,
}

/// Room for the sender and as many descriptors as the kernel lets through in one message (253), as 8-byte words.
const CONTROL: usize = 144;

/// Takes the next message into `buffer`. Never waits.
///
/// # Errors
/// `WouldBlock` while there is none.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Message> {
    let mut control = [0_u64; CONTROL];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zero is a valid value of this plain C struct.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    // A peer that died with unread messages makes the first call say ECONNRESET, before what it has sent.
    let mut resets = 0;
    let length = loop {
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: every pointer in `header` leads to a live place of the given size.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        if let Ok(length) = usize::try_from(got) {
            break length;
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error if error.raw_os_error() == Some(libc::ECONNRESET) && resets < 3 => resets += 1,
            error => return Err(error),
        }
    };
    let truncated = header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    let mut message = Message { length, fds: Vec::new(), sender: None, truncated };
    take_attached(&header, &mut message);
    Ok(message)
}

/// Takes what came along, also from a message that was cut off: descriptors left there would leak.
fn take_attached(header: &libc::msghdr, message: &mut Message) {
    // SAFETY: walks the control data that the kernel has just written, within its length.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = next.as_ref() {
            // A word is not a usize in every C library.
            #[allow(clippy::unnecessary_cast, reason = "it is one in some")]
            let length = (control.cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            let data: *const libc::c_void = libc::CMSG_DATA(control).cast();
            match (control.cmsg_level, control.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    let numbers = data.cast::<i32>();
                    for index in 0..length / size_of::<i32>() {
                        // The kernel has made these for us, and nobody else knows them.
                        message.fds.push(OwnedFd::from_raw_fd(numbers.add(index).read_unaligned()));
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                    message.sender = Some(data.cast::<libc::ucred>().read_unaligned());
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(header, control);
        }
    }
}
