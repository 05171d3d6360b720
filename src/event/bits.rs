//! Bits, most significant first, and the two codes that packed cursors are made of: zigzag and Exp-Golomb.

/// Writes bits into bytes. The last byte is filled up with zeros.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are free.
    free: u32,
}

/// Reads bits.
#[derive(Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitWriter {
    /// Writes the lowest `count` bits of a value; at most 64.
    pub fn push(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let part = (value >> (left - taken)) as u8 & (u8::MAX >> (8 - taken));
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << (self.free - taken);
            }
            self.free -= taken;
            left -= taken;
        }
    }

    /// Writes a value below 2^62 as an Exp-Golomb code of this order: small values in few bits.
    pub fn push_exp_golomb(&mut self, value: u64, order: u32) {
        let shifted = value + (1 << order);
        let width = u64::BITS - shifted.leading_zeros();
        self.push(0, width - 1 - order);
        self.push(shifted, width);
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Reads the next `count` bits, at most 64; `None` if there are fewer.
    pub fn read(&mut self, count: u32) -> Option<u64> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// Reads an Exp-Golomb code of this order; `None` if there is none.
    pub fn read_exp_golomb(&mut self, order: u32) -> Option<u64> {
        let mut more = 0;
        while self.read(1)? == 0 {
            more += 1;
        }
        let width = order + more;
        let low = self.read((width < u64::BITS).then_some(width)?)?;
        (1 << width | low).checked_sub(1 << order)
    }
}

/// Signed numbers as unsigned ones, those near 0 first: 0, -1, 1, -2, …
pub mod zigzag {
    pub fn encode(value: i64) -> u64 {
        (value << 1 ^ value >> 63) as u64
    }

    pub fn decode(value: u64) -> i64 {
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_were_written() {
        let values = [0, 1, 2, 3, 7, 8, 255, 256, 1 << 20, (1 << 61) - 1];
        for order in [0, 1, 5, 20, 40] {
            let mut writer = BitWriter::default();
            writer.push(5, 3);
            values.iter().for_each(|value| writer.push_exp_golomb(*value, order));
            writer.push(u64::MAX, 64);
            let mut reader = BitReader::new(writer.bytes());
            assert_eq!(reader.read(3), Some(5));
            let read = values.map(|_| reader.read_exp_golomb(order).unwrap());
            assert_eq!((read, reader.read(64)), (values, Some(u64::MAX)), "{order}");
            assert_eq!(reader.read(8), None);
        }
        for value in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(zigzag::decode(zigzag::encode(value)), value);
        }
    }
}
