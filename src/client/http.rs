//! As much HTTP/1.1 as one request and its answer on a unix socket need.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

/// The head of an answer, in bytes.
const HEAD_SIZE: u64 = 64 << 10;

/// An answer that is read whole, in bytes.
const BODY_SIZE: u64 = 256 << 20;

/// One request.
#[derive(Debug)]
pub(crate) struct Ask {
    method: &'static str,
    path: String,
    body: Option<String>,
}

impl Ask {
    pub(crate) fn get(path: String) -> Self {
        Self { method: "GET", path, body: None }
    }

    pub(crate) fn post(path: String, body: Option<String>) -> Self {
        Self { method: "POST", path, body }
    }

    fn written(&self) -> String {
        let Self { method, path, body } = self;
        let body = body.as_deref().unwrap_or_default();
        let length = if self.method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        format!("{method} {path} HTTP/1.1\r\nHost: everup\r\nConnection: close\r\n{length}\r\n{body}")
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It took too long.
    Silent,
    /// It is no HTTP, or not what was asked for.
    Odd(String),
    /// The connection ended before the answer did.
    Cut,
    /// The connection broke.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Cut,
            _ => Self::Io(error),
        }
    }
}

fn odd(what: &str) -> Fault {
    Fault::Odd(what.to_owned())
}

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// An answer on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    stream: BufReader<UnixStream>,
    head: Option<Head>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// So many bytes of a chunk are left; `first` before any chunk, which has no line end of an earlier one before it.
    Chunked { left: u64, first: bool },
    /// Until the connection ends.
    ToTheEnd,
}

impl Answer {
    /// Sends a request.
    pub(crate) fn to(ask: &Ask, mut stream: UnixStream) -> Result<Self, Fault> {
        // The other side may refuse before it has read everything: its answer says more than our broken pipe.
        match stream.write_all(ask.written().as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            Ok(()) | Err(_) => Ok(Self { stream: BufReader::with_capacity(32 << 10, stream), head: None }),
        }
    }

    /// Whether something of the answer is there within `limit`.
    pub(crate) fn began(&mut self, limit: Duration) -> Result<bool, Fault> {
        self.patience(Some(limit))?;
        match self.stream.fill_buf() {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(false),
                _ => Err(error.into()),
            },
        }
    }

    /// The status, once it is there; each read may take `patience`, for ever when none.
    pub(crate) fn status(&mut self, patience: Option<Duration>) -> Result<u16, Fault> {
        self.patience(patience)?;
        Ok(self.head()?.status)
    }

    /// The whole answer.
    pub(crate) fn text(mut self, patience: Option<Duration>) -> Result<Text, Fault> {
        let status = self.status(patience)?;
        let mut body = String::new();
        let size = match self.head()?.framing {
            Framing::Length(size) => usize::try_from(size.min(BODY_SIZE)).unwrap_or(0),
            Framing::Chunked { .. } | Framing::ToTheEnd => 0,
        };
        body.reserve(size);
        self.take(BODY_SIZE).read_to_string(&mut body)?;
        Ok(Text { status, body })
    }

    /// Lets further reads take as long as they need.
    pub(crate) fn endless(&self) -> Result<(), Fault> {
        self.patience(None)
    }

    /// The connection it comes on.
    pub(crate) fn connection(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    /// Lets each further read take so long; none: as long as it needs.
    pub(crate) fn patience(&self, patience: Option<Duration>) -> Result<(), Fault> {
        let patience = patience.map(|patience| patience.max(Duration::from_millis(1)));
        Ok(self.stream.get_ref().set_read_timeout(patience)?)
    }

    fn head(&mut self) -> Result<Head, Fault> {
        loop {
            match self.head {
                Some(head) => return Ok(head),
                None => self.head = read_head(&mut self.stream)?,
            }
        }
    }

    /// Reads the length of the next chunk; zero is the last.
    fn chunk(&mut self, first: bool) -> io::Result<u64> {
        let mut line = String::new();
        if !first {
            self.line(&mut line)?;
            line.clear();
        }
        self.line(&mut line)?;
        let digits = line.trim_end().split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(digits, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a chunk without a length"))
    }

    fn line(&mut self, line: &mut String) -> io::Result<()> {
        let read = (&mut self.stream).take(1024).read_line(line)?;
        if read == 0 || !line.ends_with('\n') { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// Reads the body; an end in its middle is an error.
impl Read for Answer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let head = self.head().map_err(|fault| match fault {
            Fault::Silent => io::ErrorKind::TimedOut.into(),
            Fault::Odd(what) => io::Error::new(io::ErrorKind::InvalidData, what),
            Fault::Cut => io::ErrorKind::UnexpectedEof.into(),
            Fault::Io(error) => error,
        })?;
        let left = match head.framing {
            // What follows the last chunk interests nobody; nothing more is read of this connection.
            Framing::Chunked { left: 0, first } => self.chunk(first)?,
            Framing::Chunked { left, .. } | Framing::Length(left) => left,
            Framing::ToTheEnd => u64::MAX,
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let read = if most == 0 { 0 } else { self.stream.read(&mut buf[..most])? };
        if read == 0 && most > 0 && head.framing != Framing::ToTheEnd {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let left = left - read as u64;
        let framing = match head.framing {
            Framing::Length(_) => Framing::Length(left),
            // An end was met: a length of zero keeps it one.
            Framing::Chunked { .. } if most == 0 && !buf.is_empty() => Framing::Length(0),
            Framing::Chunked { .. } => Framing::Chunked { left, first: false },
            Framing::ToTheEnd => Framing::ToTheEnd,
        };
        self.head = Some(Head { framing, ..head });
        Ok(read)
    }
}

/// Reads one head; none for an interim one.
fn read_head(stream: &mut impl BufRead) -> Result<Option<Head>, Fault> {
    let mut head = stream.take(HEAD_SIZE);
    let mut line = String::new();
    let mut next = |line: &mut String| -> Result<bool, Fault> {
        line.clear();
        if head.read_line(line)? == 0 {
            return Err(Fault::Cut);
        }
        line.truncate(line.trim_end().len());
        Ok(!line.is_empty())
    };
    next(&mut line)?;
    let status: u16 = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
        .ok_or_else(|| odd("it is no HTTP"))?;
    let mut framing = if status == 204 || status == 304 { Framing::Length(0) } else { Framing::ToTheEnd };
    while next(&mut line)? {
        let Some((name, value)) = line.split_once(':') else {
            return Err(odd("a header without a colon"));
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            framing = Framing::Chunked { left: 0, first: true };
        } else if name.eq_ignore_ascii_case("content-length") && framing == Framing::ToTheEnd {
            framing = Framing::Length(value.parse().map_err(|_| odd("its length is no number"))?);
        }
    }
    Ok((status >= 200).then_some(Head { status, framing }))
}

/// Whether the other side still listens: it closes connections on which nothing was asked for a while.
pub(crate) fn is_open(stream: &UnixStream) -> bool {
    recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) == Err(Errno::EAGAIN)
}

/// Percent-encodes what goes into a path or behind a `?`.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'*' => out.push(char::from(byte)),
            other => {
                // Writing into a String cannot fail.
                let _ = fmt::Write::write_fmt(&mut out, format_args!("%{other:02X}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(bytes: &[u8]) -> Result<Text, Fault> {
        let (mine, mut other) = UnixStream::pair().unwrap();
        other.write_all(bytes).unwrap();
        drop(other);
        let answer = Answer { stream: BufReader::with_capacity(7, mine), head: None };
        answer.text(Some(Duration::from_secs(5)))
    }

    #[test]
    fn an_answer_is_read_however_it_is_framed() {
        for (bytes, status, body) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and more", 200, "hello"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
                200,
                "hello world",
            ),
            ("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nto the end", 404, "to the end"),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}", 202, "{}"),
            ("HTTP/1.0 204 No Content\r\n\r\n", 204, ""),
        ] {
            let text = answered(bytes.as_bytes()).unwrap();
            assert_eq!((text.status, text.body.as_str()), (status, body), "{bytes}");
        }
    }

    #[test]
    fn half_an_answer_is_none() {
        for bytes in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-le",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello",
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        ] {
            assert!(answered(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_can_make_the_client_panic(bytes in proptest::collection::vec(0_u8.., 0..300)) {
            let _ = answered(&bytes);
            let _ = answered(&[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", bytes.as_slice()].concat());
        }
    }
}
