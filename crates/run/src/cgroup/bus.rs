//! As much of D-Bus (its specification, version 0.43) as it takes to call methods and to hear signals, blocking and with a
//! deadline. The well-kept crates for it bring an asynchronous runtime, which has no place where containers are started.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the other side may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest message that is read, in bytes; the protocol's own limit is 128 MiB.
const MAX_MESSAGE: usize = 1 << 20;

/// Why the bus was of no help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// It cannot be reached, or went away.
    #[error("the message bus cannot be used")]
    Io(#[from] io::Error),
    /// It does not let us in.
    #[error("the message bus says {0:?}")]
    Refused(String),
    /// What came makes no sense.
    #[error("the message bus sent what is no message")]
    Malformed,
    /// A method failed.
    #[error("{name}: {text}")]
    Method {
        /// The error's name.
        name: String,
        /// In words.
        text: String,
    },
    /// The work ended otherwise than it should.
    #[error("the service manager's job ended as {0:?}")]
    Job(String),
}

/// The values that a method gets, as they are sent. Numbers are little endian, and each value stands at a multiple of its
/// alignment.
#[derive(Debug, Default)]
pub struct Arguments {
    signature: &'static str,
    bytes: Vec<u8>,
}

impl Arguments {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// Values of these types.
    pub fn of(signature: &'static str) -> Self {
        Self {
            signature,
            bytes: Vec::new(),
        }
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// A number of 32 bits, or a truth value.
    pub fn number(&mut self, number: u32) {
        self.align(4);
        self.bytes.extend(number.to_le_bytes());
    }

    /// A string or an object's path.
    pub fn string(&mut self, text: &str) {
        self.number(u32::try_from(text.len()).unwrap_or(0));
        self.bytes.extend(text.as_bytes());
        self.byte(0);
    }

    fn signature(&mut self, text: &str) {
        self.byte(u8::try_from(text.len()).unwrap_or(0));
        self.bytes.extend(text.as_bytes());
        self.byte(0);
    }

    /// An array of elements with an alignment.
    pub fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let start = self.bytes.len();
        elements(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(0);
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// A structure of a name and a variant.
    pub fn pair(&mut self, name: &str, signature: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.string(name);
        self.signature(signature);
        value(self);
    }

    /// A header's field: a structure of its number and a variant.
    fn field(&mut self, number: u8, signature: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.byte(number);
        self.signature(signature);
        value(self);
    }
}

/// Reads values in their order.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], BusError> {
        let end = self.at.checked_add(n).ok_or(BusError::Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(BusError::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Result<u8, BusError> {
        Ok(self.take(1)?[0])
    }

    /// A number of 32 bits.
    pub fn number(&mut self) -> Result<u32, BusError> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| BusError::Malformed)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A string or an object's path.
    pub fn string(&mut self) -> Result<&'a str, BusError> {
        let length = self.number()? as usize;
        let text = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| BusError::Malformed)
    }

    fn signature(&mut self) -> Result<&'a [u8], BusError> {
        let length = self.byte()?.into();
        let text = self.take(length)?;
        self.take(1)?;
        Ok(text)
    }
}

/// A message that came.
#[derive(Debug, Default)]
pub struct Message {
    kind: u8,
    reply_to: Option<u32>,
    member: String,
    error: String,
    body: Vec<u8>,
}

const CALL: u8 = 1;
const REPLY: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
/// A header without its fields.
const HEADER: usize = 16;

impl Message {
    /// Its values.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            bytes: &self.body,
            at: 0,
        }
    }

    /// A header with its fields.
    fn parse(header: &[u8], body: Vec<u8>) -> Result<Self, BusError> {
        let mut message = Self {
            kind: *header.get(1).ok_or(BusError::Malformed)?,
            body,
            ..Self::default()
        };
        let mut reader = Reader {
            bytes: header,
            at: HEADER - 4,
        };
        let end = reader.number()? as usize + HEADER;
        while reader.at < end {
            reader.align(8);
            let field = reader.byte()?;
            match (field, reader.signature()?) {
                (3, b"s") => reader.string()?.clone_into(&mut message.member),
                (4, b"s") => reader.string()?.clone_into(&mut message.error),
                (5, b"u") => message.reply_to = Some(reader.number()?),
                (_, b"s" | b"o") => drop(reader.string()?),
                (_, b"u") => drop(reader.number()?),
                (_, b"g") => drop(reader.signature()?),
                _ => return Err(BusError::Malformed),
            }
        }
        Ok(message)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: Vec<Message>,
}

impl Bus {
    /// Connects to a bus's socket and says hello.
    pub fn connect(socket: &Path) -> Result<Self, BusError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Self {
            stream,
            serial: 0,
            signals: Vec::new(),
        };
        bus.authenticate()?;
        let own = "org.freedesktop.DBus";
        bus.call(
            own,
            "/org/freedesktop/DBus",
            own,
            "Hello",
            Arguments::none(),
        )?;
        Ok(bus)
    }

    /// Who we are the kernel tells the other side. Nothing is claimed here: in a user namespace our ids are others than
    /// outside.
    fn authenticate(&mut self) -> Result<(), BusError> {
        self.stream.write_all(b"\0AUTH EXTERNAL\r\n")?;
        if self.line()? == "DATA" {
            self.stream.write_all(b"DATA\r\n")?;
        }
        let answer = self.line()?;
        if !answer.starts_with("OK ") {
            return Err(BusError::Refused(answer));
        }
        self.stream.write_all(b"BEGIN\r\n")?;
        Ok(())
    }

    /// One line, byte by byte: what follows it is for others to read.
    fn line(&mut self) -> Result<String, BusError> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.len() < 512 {
            self.stream.read_exact(&mut byte)?;
            match byte[0] {
                b'\n' => return Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
                byte => line.push(byte),
            }
        }
        Err(BusError::Malformed)
    }

    /// Asks for signals.
    pub fn watch(&mut self, rule: &str) -> Result<(), BusError> {
        let own = "org.freedesktop.DBus";
        let mut arguments = Arguments::of("s");
        arguments.string(rule);
        self.call(own, "/org/freedesktop/DBus", own, "AddMatch", arguments)
            .map(drop)
    }

    /// Calls a method and waits for its reply.
    pub fn call(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        arguments: Arguments,
    ) -> Result<Message, BusError> {
        self.serial += 1;
        let mut message = Arguments::none();
        message.bytes.extend([b'l', CALL, 0, 1]);
        message.number(u32::try_from(arguments.bytes.len()).unwrap_or(0));
        message.number(self.serial);
        message.array(8, |fields| {
            fields.field(1, "o", |f| f.string(path));
            fields.field(2, "s", |f| f.string(interface));
            fields.field(3, "s", |f| f.string(member));
            fields.field(6, "s", |f| f.string(destination));
            if !arguments.signature.is_empty() {
                fields.field(8, "g", |f| f.signature(arguments.signature));
            }
        });
        message.align(8);
        message.bytes.extend(&arguments.bytes);
        self.stream.write_all(&message.bytes)?;
        loop {
            let message = self.read()?;
            match message.kind {
                REPLY if message.reply_to == Some(self.serial) => return Ok(message),
                ERROR if message.reply_to == Some(self.serial) => {
                    let text = message.reader().string().unwrap_or_default().to_owned();
                    return Err(BusError::Method {
                        name: message.error,
                        text,
                    });
                }
                SIGNAL => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// The next signal of a name.
    pub fn signal(&mut self, member: &str) -> Result<Message, BusError> {
        loop {
            let message = if self.signals.is_empty() {
                self.read()?
            } else {
                self.signals.remove(0)
            };
            if message.kind == SIGNAL && message.member == member {
                return Ok(message);
            }
        }
    }

    fn read(&mut self) -> Result<Message, BusError> {
        let mut header = vec![0; HEADER];
        self.stream.read_exact(&mut header)?;
        if header[0] != b'l' {
            return Err(BusError::Malformed);
        }
        let mut reader = Reader {
            bytes: &header,
            at: 4,
        };
        let body_length = reader.number()? as usize;
        reader.number()?;
        let fields = (reader.number()? as usize).next_multiple_of(8);
        if fields > MAX_MESSAGE || body_length > MAX_MESSAGE {
            return Err(BusError::Malformed);
        }
        header.resize(HEADER + fields, 0);
        self.stream.read_exact(&mut header[HEADER..])?;
        let mut body = vec![0; body_length];
        self.stream.read_exact(&mut body)?;
        Message::parse(&header, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `StartTransientUnit` gets, byte by byte, by the specification's rules.
    #[test]
    fn values_stand_where_the_specification_says() {
        let mut arguments = Arguments::of("sa(sv)");
        arguments.string("ab");
        arguments.array(8, |a| {
            a.pair("P", "au", |a| a.array(4, |a| a.number(7)));
        });
        let expected: Vec<u8> = [
            &[2, 0, 0, 0, b'a', b'b', 0, 0][..],
            // The length is that of the elements, without what aligns the first.
            &[20, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, b'P', 0, 2, b'a', b'u', 0, 0, 0],
            &[4, 0, 0, 0, 7, 0, 0, 0],
        ]
        .concat();
        assert_eq!(arguments.bytes, expected);
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        for bytes in [
            &[][..],
            &[1],
            &[255; 64],
            &[0; 20],
            b"l\x02\0\x01\0\0\0\0\x01\0\0\0\xff\xff\xff\x7f",
        ] {
            let _ = Message::parse(bytes, Vec::new());
            let mut reader = Reader { bytes, at: 0 };
            while reader.string().is_ok() {}
            let mut reader = Reader { bytes, at: 0 };
            while reader.signature().is_ok() {}
        }
        let mut reader = Reader {
            bytes: &[3, 0, 0, 0, 0xff, b'x', b'y', 0],
            at: 0,
        };
        assert!(matches!(reader.string(), Err(BusError::Malformed)));
    }
}
