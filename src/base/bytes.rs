//! Bounds-checked reading and writing of big-endian binary objects.
//!
//! Every DIME object stores integers unsigned and big-endian (`signet.md` §2, `dmime.md`).

/// What a [`Reader`] may find wrong with its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input ends before the item does.
    #[error("the input ends early")]
    Truncated,
    /// Octets are left after the last item.
    #[error("{0} octets are left over")]
    Trailing(usize),
}

/// Reads items from the front of a slice; nothing is copied.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first octet of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Octets not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` octets.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` octets as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One octet.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// Two octets, big-endian.
    pub fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Three octets, big-endian.
    pub fn u24(&mut self) -> Result<u32, Error> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_be_bytes([0, a, b, c]))
    }

    /// Four octets, big-endian.
    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Demands that the whole input has been read.
    pub fn finish(self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Error::Trailing(left)),
        }
    }
}

/// Appends `value` as three octets, big-endian.
///
/// Values above 16 777 215 do not fit; callers check their limits first, so only the low 24 bits are written.
pub fn put_u24(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes()[1..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_width_big_endian() {
        let mut reader = Reader::new(&[1, 0, 2, 0, 0, 3, 0, 0, 0, 4]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u24(), Ok(3));
        assert_eq!(reader.u32(), Ok(4));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn refuses_to_read_past_the_end_and_keeps_its_place() {
        let mut reader = Reader::new(&[1, 2]);
        assert_eq!(reader.u24(), Err(Error::Truncated));
        assert_eq!(reader.take(3), Err(Error::Truncated));
        assert_eq!(reader.u16(), Ok(0x0102));
    }

    #[test]
    fn names_the_number_of_left_over_octets() {
        assert_eq!(Reader::new(&[0; 3]).finish(), Err(Error::Trailing(3)));
    }

    #[test]
    fn writes_three_octets() {
        let mut out = Vec::new();
        put_u24(&mut out, 0x01_02_03);
        assert_eq!(out, [1, 2, 3]);
    }
}
