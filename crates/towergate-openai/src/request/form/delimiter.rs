//! [`Delimiter`]: looks for the delimiter of a form in bytes that come in pieces.

use memchr::memmem::Finder;

use super::looked_at;

/// Looks for two dashes and the boundary. What it costs is proportional to the bytes, in whatever pieces they come: of a
/// delimiter that may have begun at the end of a piece only the length is remembered.
#[derive(Debug)]
pub(super) struct Delimiter {
    finder: Finder<'static>,
    /// For each beginning of the delimiter, the length of the longest shorter one with which it ends (the failure function
    /// of Knuth, Morris and Pratt).
    borders: Box<[usize]>,
    /// The bytes so far end with so much of the delimiter.
    matched: usize,
    /// How the bytes in front of that end.
    before: Ending,
    /// How the bytes so far end.
    ending: Ending,
}

/// How a text ends, as far as it matters to a line behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// There is no text.
    Empty,
    CrLf,
    Lf,
    Cr,
    /// Within a line.
    Other,
}

/// A delimiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// It ends behind so many of the bytes.
    pub(super) end: usize,
    /// How the bytes in front of it end.
    pub(super) before: Ending,
}

// === impl Delimiter ===

impl Delimiter {
    pub(super) fn new(boundary: &[u8]) -> Self {
        let needle = [b"--", boundary].concat();
        Self {
            borders: borders(&needle),
            finder: Finder::new(&needle).into_owned(),
            matched: 0,
            before: Ending::Other,
            ending: Ending::Empty,
        }
    }

    /// How long it is.
    pub(super) fn len(&self) -> usize {
        self.finder.needle().len()
    }

    /// Begins anew, behind bytes that end like this.
    pub(super) fn restart(&mut self, ending: Ending) {
        (self.matched, self.ending) = (0, ending);
    }

    /// Looks at the next bytes, up to the end of a delimiter.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<Found> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let rest = &bytes[at..];
            if self.matched == 0 && rest.len() >= self.len() {
                let found = self.finder.find(rest);
                // Where there is none, its beginning may be at the end.
                let before = found.unwrap_or(rest.len() + 1 - self.len());
                looked_at(before);
                self.ending = self.ending.then(&rest[..before]);
                at += before;
                if found.is_some() {
                    looked_at(self.len());
                    let found = Found { end: at + self.len(), before: self.ending };
                    self.restart_behind_one();
                    return Some(found);
                }
            } else {
                at += 1;
                looked_at(1);
                if self.step(*byte) {
                    let found = Found { end: at, before: self.before };
                    self.restart_behind_one();
                    return Some(found);
                }
            }
        }
        None
    }

    /// Looks at one byte; says whether a delimiter ends with it.
    fn step(&mut self, byte: u8) -> bool {
        let needle = self.finder.needle();
        while self.matched > 0 && needle[self.matched] != byte {
            self.matched = self.borders[self.matched - 1];
            // A later beginning has bytes of the delimiter in front of it.
            self.before = Ending::Other;
        }
        if needle[self.matched] == byte {
            if self.matched == 0 {
                self.before = self.ending;
            }
            self.matched += 1;
        }
        self.ending = self.ending.then(&[byte]);
        self.matched == needle.len()
    }

    /// The end of a delimiter may be the beginning of another one.
    fn restart_behind_one(&mut self) {
        self.matched = self.borders.last().copied().unwrap_or_default();
        (self.before, self.ending) = (Ending::Other, Ending::Other);
    }
}

fn borders(needle: &[u8]) -> Box<[usize]> {
    let mut borders = vec![0; needle.len()];
    let mut length = 0;
    for at in 1..needle.len() {
        while length > 0 && needle[length] != needle[at] {
            length = borders[length - 1];
        }
        length += usize::from(needle[length] == needle[at]);
        borders[at] = length;
    }
    borders.into()
}

// === impl Ending ===

impl Ending {
    /// How it ends with these bytes behind it.
    fn then(self, bytes: &[u8]) -> Self {
        match bytes {
            [] => self,
            [b'\n'] if self == Self::Cr => Self::CrLf,
            [.., b'\r', b'\n'] => Self::CrLf,
            [.., b'\n'] => Self::Lf,
            [.., b'\r'] => Self::Cr,
            _ => Self::Other,
        }
    }

    /// Whether a line may begin behind it.
    pub(super) fn ends_line(self) -> bool {
        matches!(self, Self::Empty | Self::CrLf | Self::Lf)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The ends of all delimiters, and how what is in front of each ends.
    fn all(boundary: &str, pieces: &[&[u8]]) -> Vec<Found> {
        let mut delimiter = Delimiter::new(boundary.as_bytes());
        let (mut found, mut offset) = (Vec::new(), 0);
        for piece in pieces {
            let mut at = 0;
            while let Some(Found { end, before }) = delimiter.find(&piece[at..]) {
                at += end;
                found.push(Found { end: offset + at, before });
            }
            offset += piece.len();
        }
        found
    }

    fn by_hand(boundary: &str, text: &[u8]) -> Vec<Found> {
        let needle = format!("--{boundary}");
        let ends = (0..text.len()).filter(|at| text[*at..].starts_with(needle.as_bytes()));
        ends.map(|at| Found {
            end: at + needle.len(),
            before: match &text[..at] {
                [] => Ending::Empty,
                [.., b'\r', b'\n'] => Ending::CrLf,
                [.., b'\n'] => Ending::Lf,
                [.., b'\r'] => Ending::Cr,
                _ => Ending::Other,
            },
        })
        .collect()
    }

    #[test]
    fn what_stands_in_front_of_it_is_known() {
        let found = all("-b", &[b"---b\r\n---b\n---b\r---bx-----b"]);
        let before: Vec<_> = found.iter().map(|found| found.before).collect();
        assert_eq!(before, [Ending::Empty, Ending::CrLf, Ending::Lf, Ending::Cr, Ending::Other]);
    }

    proptest! {
        #[test]
        fn all_are_found_in_any_pieces(
            boundary in "-{0,3}[ab]{1,3}-{0,2}", text in "([ab\r\n-]|--|\r\n-|--a|-b){0,60}", cuts in prop::collection::vec(0_usize..9, 0..40),
        ) {
            let mut pieces = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            pieces.push(rest);
            let expected = by_hand(&boundary, text.as_bytes());
            prop_assert_eq!(all(&boundary, &pieces), &*expected);
            prop_assert_eq!(all(&boundary, &[text.as_bytes()]), expected);
        }
    }
}
