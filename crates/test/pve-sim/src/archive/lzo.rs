//! lzop's container format: written with every block stored as it is, which `lzop -d` reads like any other; compressed blocks
//! are left to the stock tool.

use std::io::{self, Read, Write};

const MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, 0x0d, 0x0a, 0x1a, 0x0a];
/// Each block carries the Adler-32 of its data.
const ADLER_OF_DATA: u32 = 1;
/// The same with CRC-32.
const CRC_OF_DATA: u32 = 0x100;
const EXTRA_FIELD: u32 = 0x40;
const FILTER: u32 = 0x800;
const UNIX: u32 = 0x0300_0000;
/// lzop's own block size.
const BLOCK: usize = 256 << 10;
/// No block is larger, in bytes.
const BLOCK_LIMIT: u32 = 64 << 20;

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for chunk in bytes.chunks(5552) {
        for byte in chunk {
            a += u32::from(*byte);
            b += a;
        }
        a %= 65521;
        b %= 65521;
    }
    b << 16 | a
}

/// Writes an `.lzo` stream; [`Writer::finish`] ends it.
pub(crate) struct Writer<W> {
    out: W,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// As the output's.
    pub(crate) fn new(mut out: W) -> io::Result<Self> {
        let mut header = Vec::new();
        for version in [0x1040_u16, 0x20a0, 0x0940] {
            header.extend(version.to_be_bytes());
        }
        // Method LZO1X-1, level 5.
        header.extend([1, 5]);
        header.extend((UNIX | ADLER_OF_DATA).to_be_bytes());
        // Mode, time (two halves), length of the name.
        header.extend([0_u8; 13]);
        out.write_all(&MAGIC)?;
        out.write_all(&header)?;
        out.write_all(&adler32(&header).to_be_bytes())?;
        Ok(Self { out, block: Vec::with_capacity(BLOCK) })
    }

    fn put_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(self.block.len()).map_err(io::Error::other)?.to_be_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&length)?;
        self.out.write_all(&adler32(&self.block).to_be_bytes())?;
        self.out.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }

    /// Writes the last block and the end mark.
    ///
    /// # Errors
    /// As the output's.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.put_block()?;
        self.out.write_all(&[0; 4])?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK {
            self.put_block()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads an `.lzo` stream of stored blocks.
pub(crate) struct Reader<R> {
    input: R,
    flags: u32,
    block: Vec<u8>,
    offset: usize,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn new(mut input: R) -> io::Result<Self> {
        let mut magic = [0; 9];
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(io::Error::other("not a lzop file"));
        }
        let fixed = bytes(&mut input, 12)?;
        let flags = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
        if flags & (FILTER | EXTRA_FIELD) != 0 {
            return Err(io::Error::other("lzop header with unknown fields"));
        }
        let rest = bytes(&mut input, 13)?;
        bytes(&mut input, usize::from(rest[12]) + 4)?;
        Ok(Self { input, flags, block: Vec::new(), offset: 0, ended: false })
    }

    fn next_block(&mut self) -> io::Result<()> {
        let size = number(&mut self.input)?;
        if size == 0 {
            self.ended = true;
            return Ok(());
        }
        let stored = number(&mut self.input)?;
        let sum = (self.flags & ADLER_OF_DATA != 0).then(|| number(&mut self.input)).transpose()?;
        if self.flags & CRC_OF_DATA != 0 {
            number(&mut self.input)?;
        }
        if stored != size || size > BLOCK_LIMIT {
            return Err(io::Error::other("compressed lzop blocks need the program lzop"));
        }
        self.block = bytes(&mut self.input, usize::try_from(size).map_err(io::Error::other)?)?;
        self.offset = 0;
        if sum.is_some_and(|s| s != adler32(&self.block)) {
            return Err(io::Error::other("Checksum error (lzo file corrupted)"));
        }
        Ok(())
    }
}

fn number(input: &mut impl Read) -> io::Result<u32> {
    let mut four = [0; 4];
    input.read_exact(&mut four)?;
    Ok(u32::from_be_bytes(four))
}

fn bytes(input: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.offset == self.block.len() && !self.ended {
            self.next_block()?;
        }
        let count = buffer.len().min(self.block.len() - self.offset);
        buffer[..count].copy_from_slice(&self.block[self.offset..self.offset + count]);
        self.offset += count;
        Ok(count)
    }
}

/// Whether a stream's first block is compressed, so that only the stock tool can read it.
pub(crate) fn is_compressed(input: &mut impl Read) -> io::Result<bool> {
    let mut reader = Reader::new(input)?;
    let size = number(&mut reader.input)?;
    Ok(size != 0 && number(&mut reader.input)? != size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_damage_is_noticed() {
        let data: Vec<u8> = (0..700_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.write_all(&data).unwrap();
        let mut file = writer.finish().unwrap();
        let mut back = Vec::new();
        Reader::new(file.as_slice()).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == data && !is_compressed(&mut file.as_slice()).unwrap());
        file[1000] ^= 1;
        assert!(Reader::new(file.as_slice()).unwrap().read_to_end(&mut back).is_err());
        assert!(Reader::new(&file[..300_000]).unwrap().read_to_end(&mut back).is_err());
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
    }
}
