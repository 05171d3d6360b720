//! Packed cursors: the positions of many channels in few bytes, as differences from a base that the broker keeps.
//!
//! A cursor of hundreds of channels as text is longer than a request line may be. So the daemon stores the names, epochs
//! and positions of all channels once, as a base. A packed cursor names the base and has, for each of its channels, the
//! distance from there. It is exact: no position is rounded.
//!
//! Written `c.` and base64url: the base's slot (1 byte) and id (8 bytes), then bits: the order of the Exp-Golomb codes (6),
//! whether every channel of the base is present (1), whether some positions are far (1), and for each channel of the base,
//! by name: whether it is present (1, unless all are), whether it is far (1, if some are), and either its distance from the
//! base, in zigzag form, as an Exp-Golomb code, or its position in full. A position of another epoch is far.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::bits::{BitReader, BitWriter, zigzag};
use super::{Cursor, Epoch, Position};

/// What a packed cursor begins with. No other form of `since` does.
const PREFIX: &str = "c.";
/// The bytes before the bits: the slot and the id.
const HEADER: usize = 9;
/// A distance that is not smaller is written as a position in full.
const MAX_DISTANCE: u64 = 1 << 60;

/// The positions of many channels at one moment, from which packed cursors count.
#[derive(Debug, PartialEq, Eq)]
pub struct CursorBase {
    /// Where the broker keeps it.
    pub slot: u8,
    /// A random number, which tells it from another base in the same slot.
    pub id: u64,
    pub positions: Cursor,
}

/// A packed cursor, which can be read only with its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedCursor {
    /// The slot of its base.
    pub slot: u8,
    /// The id of its base.
    pub id: u64,
    bits: Vec<u8>,
}

impl CursorBase {
    /// The base as the broker keeps it.
    pub fn to_text(&self) -> String {
        format!("{:016x}\n{}", self.id, self.positions)
    }

    /// Reads what [`Self::to_text`] wrote.
    pub fn from_text(slot: u8, text: &str) -> Option<Self> {
        let (id, positions) = text.split_once('\n')?;
        Some(Self { slot, id: u64::from_str_radix(id, 16).ok()?, positions: Cursor::parse(positions)? })
    }

    /// Packs a cursor of these positions, in the order of the names; `None` if the base lacks one of its channels.
    pub fn pack<'a>(&self, positions: impl Iterator<Item = (&'a str, &'a Position)>) -> Option<String> {
        let mut rest = positions.peekable();
        let mut entries = Vec::with_capacity(self.positions.0.len());
        for (name, base) in &self.positions.0 {
            entries.push(rest.next_if(|(other, _)| *other == name).map(|(_, position)| Entry::new(base, position)));
        }
        if rest.next().is_some() {
            return None;
        }
        let present = entries.iter().flatten().count();
        let widths = entries.iter().flatten().map(|entry| match entry {
            Entry::Near(distance) => u64::BITS - distance.leading_zeros(),
            Entry::Far(_) => 0,
        });
        // Close to the best order: most distances then need no more than the order's bits and one.
        let order = (widths.sum::<u32>() / (present as u32).max(1)).saturating_sub(1);
        let (is_full, has_far) =
            (present == entries.len(), entries.iter().flatten().any(|entry| matches!(entry, Entry::Far(_))));
        let mut bits = BitWriter::default();
        bits.push(u64::from(self.slot), 8);
        bits.push(self.id, 64);
        bits.push(u64::from(order), 6);
        bits.push(u64::from(is_full), 1);
        bits.push(u64::from(has_far), 1);
        for entry in entries {
            if !is_full {
                bits.push(u64::from(entry.is_some()), 1);
            }
            let Some(entry) = entry else { continue };
            if has_far {
                bits.push(u64::from(matches!(entry, Entry::Far(_))), 1);
            }
            match entry {
                Entry::Near(distance) => bits.push_exp_golomb(distance, order),
                Entry::Far(position) => {
                    let epoch = position.epoch.as_str();
                    bits.push(epoch.len() as u64, 6);
                    epoch.bytes().for_each(|byte| bits.push(u64::from(byte), 8));
                    bits.push(position.offset, 64);
                }
            }
        }
        Some(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bits.bytes())))
    }

    /// Reads a cursor that was packed with this base; `None` if it cannot be one.
    pub fn unpack(&self, packed: &PackedCursor) -> Option<Cursor> {
        let mut bits = BitReader::new(&packed.bits);
        let order = bits.read(6)? as u32;
        let (is_full, has_far) = (bits.read(1)? == 1, bits.read(1)? == 1);
        let mut cursor = Cursor::default();
        for (name, base) in &self.positions.0 {
            if !is_full && bits.read(1)? == 0 {
                continue;
            }
            let position = if has_far && bits.read(1)? == 1 {
                let length = bits.read(6)?;
                let epoch: Vec<u8> = (0..length).map(|_| bits.read(8).map(|byte| byte as u8)).collect::<Option<_>>()?;
                let epoch: Epoch = std::str::from_utf8(&epoch).ok()?.parse().ok()?;
                Position::new(epoch, bits.read(64)?)
            } else {
                let distance = zigzag::decode(bits.read_exp_golomb(order)?);
                Position::new(base.epoch.clone(), base.offset.checked_add_signed(distance)?)
            };
            cursor.0.insert(name.clone(), position);
        }
        Some(cursor)
    }
}

/// A position as it is packed.
enum Entry<'a> {
    /// The distance from the base, in zigzag form.
    Near(u64),
    /// In another epoch, or far away.
    Far(&'a Position),
}

impl<'a> Entry<'a> {
    fn new(base: &Position, position: &'a Position) -> Self {
        if !base.same_epoch(position) || base.offset.abs_diff(position.offset) >= MAX_DISTANCE {
            return Self::Far(position);
        }
        Self::Near(zigzag::encode(position.offset.wrapping_sub(base.offset) as i64))
    }
}

impl PackedCursor {
    /// Reads the text of a packed cursor; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (header, bits) = bytes.split_at_checked(HEADER)?;
        let id = u64::from_be_bytes(header[1..].try_into().ok()?);
        Some(Self { slot: header[0], id, bits: bits.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(channels: u64, position: impl Fn(u64) -> Option<Position>) -> Cursor {
        let all =
            (0..channels).filter_map(|number| Some((format!("shop.warehouse-{number}.stock"), position(number)?)));
        Cursor(all.collect())
    }

    fn at(epoch: u64, offset: u64) -> Position {
        Position::new(format!("k3q7x{epoch:03}").parse().unwrap(), offset)
    }

    #[test]
    fn a_packed_cursor_is_read_as_it_was_written() {
        let base = CursorBase { slot: 7, id: u64::MAX - 1, positions: cursor(300, |n| Some(at(n, n * n * 10_000))) };
        assert_eq!(CursorBase::from_text(7, &base.to_text()).as_ref(), Some(&base));
        for written in [
            base.positions.clone(),
            Cursor::default(),
            cursor(300, |n| Some(at(n, n * n * 10_000 + n % 7))),
            cursor(300, |n| (n % 3 == 0).then(|| at(n, (n * n * 10_000).saturating_sub(n)))),
            cursor(300, |n| Some(at(if n % 50 == 0 { 999 - n } else { n }, n * n * 10_000 + n))),
            cursor(300, |n| Some(at(n, [0, u64::MAX, 1 << 59, 1 << 60, 1 << 63][n as usize % 5]))),
        ] {
            let text = base.pack(written.iter()).unwrap();
            let packed = PackedCursor::parse(&text).unwrap();
            assert_eq!((packed.slot, packed.id), (7, u64::MAX - 1));
            assert_eq!(base.unpack(&packed), Some(written));
        }
        assert_eq!(base.pack([("other", &at(0, 0))].into_iter()), None);
        for text in ["", "c", "c.", "c.AAAA", "a=k3:1", "c.****************"] {
            assert_eq!(PackedCursor::parse(text), None, "{text}");
        }
    }

    /// Cursors of many channels with an epoch each, at offsets up to a billion.
    #[test]
    fn hundreds_of_channels_fit_into_a_kibibyte() {
        // Channels, the events that half of them had since the base, and the longest text.
        for (channels, moved, longest) in
            [(300, 20_000, 1_024), (500, 1_000, 1_024), (1_000, 20, 1_024), (3_000, 0, 1_024)]
        {
            let start = |n: u64| n * 1_000_000_000 / channels;
            let base = CursorBase { slot: 0, id: 1, positions: cursor(channels, |n| Some(at(n % 1_000, start(n)))) };
            let now = cursor(channels, |n| {
                Some(at(n % 1_000, start(n) + if n % 2 == 0 { moved * (n % 11) / 10 } else { 0 }))
            });
            let text = base.pack(now.iter()).unwrap();
            println!("{channels} channels, {moved} events: {} instead of {}", text.len(), now.to_string().len());
            assert!(text.len() <= longest, "{channels} channels: {}", text.len());
        }
    }
}
