//! Packet lines: the framing of git's protocols.
//!
//! Source: gitprotocol-common(5) "pkt-line Format". Four hex digits give the length of the whole packet, themselves included; the lengths
//! 0, 1 and 2 are the marks flush, delimiter and response end. A side band puts one byte in front of the data that says what it
//! is: 1 the pack, 2 progress for people, 3 a fatal error.

/// Bytes of the longest packet, its length included.
pub const PACKET_MAX_BYTES: usize = 65_520;
/// Bytes of data in the longest packet.
pub const DATA_MAX_BYTES: usize = PACKET_MAX_BYTES - 4;

/// Side band of the pack.
pub const BAND_PACK: u8 = 1;
/// Side band of progress.
pub const BAND_PROGRESS: u8 = 2;
/// Side band of a fatal error.
pub const BAND_ERROR: u8 = 3;

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Data, perhaps with a newline at its end.
    Data(&'a [u8]),
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: between the sections of a message.
    Delimiter,
    /// `0002`: the end of a response over a stateless connection.
    ResponseEnd,
}

impl<'a> Packet<'a> {
    /// The data without one newline at its end; `None` for a mark.
    #[must_use]
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Packet::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            _ => None,
        }
    }
}

/// Why bytes are no packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The length is no four hex digits, or 3.
    #[error("packet at byte {0} has a malformed length")]
    Length(usize),
    /// The bytes end inside a packet.
    #[error("packet at byte {0} is cut short")]
    Truncated(usize),
    /// The packet is longer than packets may be.
    #[error("packet at byte {0} is too long")]
    TooLong(usize),
}

/// Reads packets from the front of bytes.
#[derive(Clone, Debug)]
pub struct PacketReader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> PacketReader<'a> {
    /// Reads from the first byte on.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        PacketReader { data, at: 0 }
    }

    /// How many bytes are behind.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// What is left, packets or not (a pack follows the packets of a push).
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.data.get(self.at..).unwrap_or_default()
    }

    /// The next packet; `None` at the end. O(1).
    ///
    /// # Errors
    /// [`PacketError`]; the position does not move then.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Packet<'a>>, PacketError> {
        let rest = self.rest();
        if rest.is_empty() {
            return Ok(None);
        }
        let digits = rest.get(..4).ok_or(PacketError::Truncated(self.at))?;
        let mut length = 0usize;
        for &digit in digits {
            let value = char::from(digit).to_digit(16).ok_or(PacketError::Length(self.at))?;
            length = length << 4 | value as usize;
        }
        let packet = match length {
            0 => Packet::Flush,
            1 => Packet::Delimiter,
            2 => Packet::ResponseEnd,
            3 => return Err(PacketError::Length(self.at)),
            _ if length > PACKET_MAX_BYTES => return Err(PacketError::TooLong(self.at)),
            _ => Packet::Data(rest.get(4..length).ok_or(PacketError::Truncated(self.at))?),
        };
        self.at += length.max(4);
        Ok(Some(packet))
    }
}

/// Appends a packet. Data beyond [`DATA_MAX_BYTES`] goes into further packets.
pub fn write_data(data: &[u8], out: &mut Vec<u8>) {
    for piece in data.chunks(DATA_MAX_BYTES) {
        write_length(piece.len() + 4, out);
        out.extend_from_slice(piece);
    }
}

/// Appends a packet of a line, with the newline that belongs at its end.
pub fn write_line(line: &str, out: &mut Vec<u8>) {
    write_data(format!("{line}\n").as_bytes(), out);
}

/// Appends data on a side band, in packets of at most `packet_bytes` (1,000 or 65,520).
pub fn write_band(band: u8, data: &[u8], packet_bytes: usize, out: &mut Vec<u8>) {
    let room = packet_bytes.clamp(6, PACKET_MAX_BYTES) - 5;
    for piece in data.chunks(room) {
        write_length(piece.len() + 5, out);
        out.push(band);
        out.extend_from_slice(piece);
    }
}

/// Appends the mark at the end of a message.
pub fn write_flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// Appends the mark between sections.
pub fn write_delimiter(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0001");
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    for shift in [12, 8, 4, 0] {
        let digit = (length >> shift & 15) as u8;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20)) {
            let mut out = Vec::new();
            for piece in &pieces {
                write_data(piece, &mut out);
                write_flush(&mut out);
            }
            let mut reader = PacketReader::new(&out);
            for piece in &pieces {
                prop_assert_eq!(reader.next(), Ok(Some(Packet::Data(piece))));
                prop_assert_eq!(reader.next(), Ok(Some(Packet::Flush)));
            }
            prop_assert_eq!(reader.next(), Ok(None));
        }

        #[test]
        fn a_band_comes_back_whole_in_packets_that_fit(data in prop::collection::vec(any::<u8>(), 0..5000), size in 6usize..2000) {
            let mut out = Vec::new();
            write_band(BAND_PACK, &data, size, &mut out);
            let (mut reader, mut found) = (PacketReader::new(&out), Vec::new());
            while let Some(packet) = reader.next().unwrap() {
                let Packet::Data(piece) = packet else { panic!("a mark") };
                prop_assert!(piece.len() + 4 <= size && piece[0] == BAND_PACK);
                found.extend_from_slice(&piece[1..]);
            }
            prop_assert_eq!(found, data);
        }
    }

    #[test]
    fn malformed_lengths_are_refused_where_they_stand() {
        for (bytes, error) in [
            (&b"0000003"[..], PacketError::Truncated(4)),
            (b"0003", PacketError::Length(0)),
            (b"00g5a", PacketError::Length(0)),
            (b"0008abc", PacketError::Truncated(0)),
            (b"fff1", PacketError::TooLong(0)),
        ] {
            let mut reader = PacketReader::new(bytes);
            let failed = std::iter::repeat_with(|| reader.next()).find_map(Result::err);
            assert_eq!(failed, Some(error), "{bytes:?}");
        }
        assert_eq!(Packet::Data(b"want\n").text(), Some(&b"want"[..]));
        assert_eq!(Packet::Flush.text(), None);
    }
}
