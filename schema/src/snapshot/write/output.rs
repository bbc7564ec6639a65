//! The file behind a writer: buffered, aligned, summed up, and read back to build the indexes.

use super::WriteError;
use crate::snapshot::hash::BodySum;
use crate::snapshot::layout::{ALIGN, HEADER, Span};
use crate::snapshot::view::ENTRY_HEAD;
use std::io::{BufReader, Error, Read, Seek, SeekFrom, Write};

/// Bytes gathered before one write; a multiple of [`ALIGN`].
const BUFFER: usize = 256 * 1024;

pub(super) struct Output<W> {
    file: W,
    buffer: Vec<u8>,
    /// Bytes in the file, without the buffer.
    written: usize,
    sum: BodySum,
}

/// A place to return to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    written: usize,
    sum: BodySum,
}

impl<W: Read + Write + Seek> Output<W> {
    /// Leaves room for the header, as zeros.
    pub(super) fn new(mut file: W) -> Result<Self, WriteError> {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[0; HEADER])?;
        Ok(Self { file, buffer: Vec::with_capacity(BUFFER), written: HEADER, sum: BodySum::default() })
    }

    pub(super) fn position(&self) -> usize {
        self.written + self.buffer.len()
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Fills up with zeros to the next place where a section may start.
    pub(super) fn align(&mut self) -> Result<usize, WriteError> {
        let gap = self.position().next_multiple_of(ALIGN) - self.position();
        self.write(&[0; ALIGN][..gap])?;
        Ok(self.position())
    }

    /// Writes a whole section.
    pub(super) fn section(&mut self, bytes: &[u8]) -> Result<Span, WriteError> {
        let start = self.align()?;
        self.write(bytes)?;
        Ok(Span { start, len: bytes.len() })
    }

    /// Remembers an aligned place.
    pub(super) fn mark(&mut self) -> Result<Mark, WriteError> {
        self.align()?;
        self.flush()?;
        Ok(Mark { written: self.written, sum: self.sum })
    }

    /// Goes on from there. What was written behind is written over: the indexes of a later attempt are never shorter.
    pub(super) fn rewind(&mut self, mark: Mark) -> Result<(), WriteError> {
        self.buffer.clear();
        self.written = mark.written;
        self.sum = mark.sum;
        self.file.seek(SeekFrom::Start(mark.written as u64))?;
        Ok(())
    }

    /// Calls `each` with the place and the bytes of every entry of an area.
    pub(super) fn read_entries(
        &mut self,
        area: Span,
        mut each: impl FnMut(usize, &[u8]) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.mark()?;
        self.file.seek(SeekFrom::Start(area.start as u64))?;
        let mut reader = BufReader::with_capacity(BUFFER, Read::by_ref(&mut self.file).take(area.len as u64));
        let mut entry = Vec::new();
        let mut at = area.start;
        while at < area.end() {
            read_entry(&mut reader, &mut entry)?;
            each(at, &entry)?;
            at += entry.len();
        }
        self.file.seek(SeekFrom::Start(self.written as u64))?;
        Ok(())
    }

    /// The entry at one place.
    pub(super) fn read_entry(&mut self, at: usize) -> Result<Vec<u8>, WriteError> {
        self.file.seek(SeekFrom::Start(at as u64))?;
        let mut entry = Vec::new();
        read_entry(&mut self.file, &mut entry)?;
        self.file.seek(SeekFrom::Start(self.written as u64))?;
        Ok(entry)
    }

    /// Writes out everything; the length of the file and the checksum of its body.
    pub(super) fn end(&mut self) -> Result<(usize, u64), WriteError> {
        self.mark()?;
        Ok((self.written, self.sum.finish()))
    }

    /// Puts the header in front.
    pub(super) fn header(mut self, header: &[u8; HEADER]) -> Result<W, WriteError> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(header)?;
        self.file.flush()?;
        Ok(self.file)
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.file.write_all(&self.buffer)?;
        self.sum.update(&self.buffer);
        self.written += self.buffer.len();
        self.buffer.clear();
        Ok(())
    }
}

fn read_entry(from: &mut impl Read, entry: &mut Vec<u8>) -> Result<(), WriteError> {
    let mut head = [0; ENTRY_HEAD];
    from.read_exact(&mut head)?;
    let [a, b, c, d, ..] = head;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    let rest = len.checked_sub(ENTRY_HEAD).ok_or_else(|| Error::other(super::NOT_WHAT_WAS_WRITTEN))?;
    entry.clear();
    entry.extend_from_slice(&head);
    entry.resize(ENTRY_HEAD + rest, 0);
    from.read_exact(entry.get_mut(ENTRY_HEAD..).unwrap_or_default())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::hash::BodySum;
    use std::io::Cursor;

    #[test]
    fn the_checksum_goes_back_with_the_mark_also_across_its_pieces() {
        let mut output = Output::new(Cursor::new(Vec::new())).unwrap();
        output.write(&vec![1; BodySum::PIECE - ALIGN]).unwrap();
        let mark = output.mark().unwrap();
        output.write(&vec![2; 2 * BodySum::PIECE]).unwrap();
        output.mark().unwrap();
        output.rewind(mark).unwrap();
        output.write(&vec![3; 2 * BodySum::PIECE + ALIGN]).unwrap();
        let (len, sum) = output.end().unwrap();
        let file = output.header(&[0; HEADER]).unwrap().into_inner();
        assert_eq!(file.len(), len);
        assert_eq!(sum, BodySum::of(&file[HEADER..], 1));
    }
}
