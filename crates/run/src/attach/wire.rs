//! The messages.

use super::Stream;

/// Most bytes of a stream in one message.
pub(crate) const PIECE: usize = 16 << 10;

/// As long as a message can be, but for failures, which are longer only by their words.
pub(crate) const MESSAGE: usize = PIECE + 1;

/// What a guest says first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Welcome {
    /// Which of standard input, output and error he wants.
    pub streams: [bool; 3],
    /// Rows and columns of his terminal.
    pub window: Option<(u16, u16)>,
    /// The container ends if he is gone without a word. Only who started the container can ask for that.
    pub bound: bool,
}

/// From a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromGuest<'a> {
    Welcome(Welcome),
    Input(&'a [u8]),
    /// His standard input has ended.
    InputEnd,
    Window((u16, u16)),
    Signal(i32),
    /// He leaves, and means it.
    Detach,
}

/// To a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToGuest<'a> {
    /// The container's program runs.
    Started,
    /// It does not; bytes that whoever started it understands.
    Failed(&'a [u8]),
    /// Words for the user.
    Note(&'a str),
    Output(Stream, &'a [u8]),
    /// The piece of input was taken.
    Taken,
    /// The container has ended, with this code.
    Exit(u8),
}

impl FromGuest<'_> {
    /// Writes the message into `buffer`, whose old content goes.
    pub(crate) fn encode(self, buffer: &mut Vec<u8>) {
        buffer.clear();
        match self {
            Self::Welcome(welcome) => {
                let (rows, columns) = welcome.window.unwrap_or_default();
                buffer.push(b'h');
                buffer.extend(welcome.streams.map(u8::from));
                buffer.push(welcome.bound.into());
                buffer.extend(rows.to_ne_bytes());
                buffer.extend(columns.to_ne_bytes());
            }
            Self::Input(bytes) => {
                buffer.push(b'i');
                buffer.extend_from_slice(bytes);
            }
            Self::InputEnd => buffer.push(b'e'),
            Self::Window((rows, columns)) => {
                buffer.push(b'w');
                buffer.extend(rows.to_ne_bytes());
                buffer.extend(columns.to_ne_bytes());
            }
            Self::Signal(number) => {
                buffer.push(b's');
                buffer.extend(number.to_ne_bytes());
            }
            Self::Detach => buffer.push(b'd'),
        }
    }
}

impl<'a> FromGuest<'a> {
    /// `None` for what is no message.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        Some(match kind {
            b'h' => {
                let ([input, output, error, bound], window) = rest.split_first_chunk()?;
                let window = window_of(window)?;
                Self::Welcome(Welcome {
                    streams: [input, output, error].map(|wanted| *wanted != 0),
                    bound: *bound != 0,
                    window: (window != (0, 0)).then_some(window),
                })
            }
            b'i' => Self::Input(rest),
            b'e' => Self::InputEnd,
            b'w' => Self::Window(window_of(rest)?),
            b's' => Self::Signal(i32::from_ne_bytes(rest.try_into().ok()?)),
            b'd' => Self::Detach,
            _ => return None,
        })
    }
}

fn window_of(bytes: &[u8]) -> Option<(u16, u16)> {
    let (rows, columns) = bytes.split_first_chunk::<2>()?;
    Some((
        u16::from_ne_bytes(*rows),
        u16::from_ne_bytes(columns.try_into().ok()?),
    ))
}

impl ToGuest<'_> {
    /// Writes the message into `buffer`, whose old content goes.
    pub(crate) fn encode(self, buffer: &mut Vec<u8>) {
        buffer.clear();
        let (kind, bytes): (u8, &[u8]) = match &self {
            Self::Started => (b'S', &[]),
            Self::Failed(bytes) => (b'F', bytes),
            Self::Note(words) => (b'N', words.as_bytes()),
            Self::Output(stream, bytes) => (output_kind(*stream), bytes),
            Self::Taken => (b'T', &[]),
            Self::Exit(code) => (b'X', std::slice::from_ref(code)),
        };
        buffer.push(kind);
        buffer.extend_from_slice(bytes);
    }
}

/// The first byte of a message with output.
pub(crate) fn output_kind(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => b'O',
        Stream::Stderr => b'E',
    }
}

impl<'a> ToGuest<'a> {
    /// Of which stream a message with this first byte is.
    pub(crate) fn decode_kind(kind: u8) -> Option<Stream> {
        [Stream::Stdout, Stream::Stderr]
            .into_iter()
            .find(|stream| output_kind(*stream) == kind)
    }

    /// `None` for what is no message.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        Some(match kind {
            b'S' => Self::Started,
            b'F' => Self::Failed(rest),
            b'N' => Self::Note(std::str::from_utf8(rest).ok()?),
            b'O' => Self::Output(Stream::Stdout, rest),
            b'E' => Self::Output(Stream::Stderr, rest),
            b'T' => Self::Taken,
            b'X' => Self::Exit(*rest.first()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_as_they_were_sent() {
        let mut buffer = Vec::new();
        let welcome = |streams, window| {
            FromGuest::Welcome(Welcome {
                streams,
                window,
                bound: true,
            })
        };
        for message in [
            welcome([true, false, true], Some((24, 80))),
            welcome([false; 3], None),
            FromGuest::Input(b"\0x"),
            FromGuest::InputEnd,
            FromGuest::Window((1, 65535)),
            FromGuest::Signal(15),
            FromGuest::Detach,
        ] {
            message.encode(&mut buffer);
            assert_eq!(FromGuest::decode(&buffer), Some(message));
        }
        for message in [
            ToGuest::Started,
            ToGuest::Failed(b"why"),
            ToGuest::Note("a word"),
            ToGuest::Output(Stream::Stderr, b"\xff"),
            ToGuest::Taken,
            ToGuest::Exit(7),
        ] {
            message.encode(&mut buffer);
            assert_eq!(ToGuest::decode(&buffer), Some(message));
        }
    }

    #[test]
    fn what_is_no_message_is_none() {
        for bytes in [&b""[..], b"?", b"h", b"h1234567", b"w1", b"s", b"s12345"] {
            assert_eq!(FromGuest::decode(bytes), None, "{bytes:?}");
        }
        for bytes in [&b""[..], b"?", b"X", b"N\xff"] {
            assert_eq!(ToGuest::decode(bytes), None, "{bytes:?}");
        }
    }
}
