//! Names of files as text. Linux names are bytes, texts in requests and answers are UTF-8: a byte that is no part of a letter is
//! written `\xff`, and a backslash that would read as such an escape `\x5c`. Must never: give one file two texts, or two files
//! one, since what judges a path compares texts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

const ESCAPE_BYTES: usize = 4;

/// The text of a name or path.
pub fn shown(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        for (at, letter) in chunk.valid().char_indices() {
            match letter {
                '\\' if escaped(&chunk.valid().as_bytes()[at..]).is_some() => text.push_str("\\x5c"),
                letter => text.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// The name or path that a text means.
///
/// # Errors
/// A text that is not the one form of what it means is answered with that form.
pub fn parse(text: &str) -> Result<OsString, String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some(first) = rest.first() {
        match escaped(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[ESCAPE_BYTES..];
            }
            None => {
                bytes.push(*first);
                rest = &rest[1..];
            }
        }
    }
    let name = OsString::from_vec(bytes);
    let form = shown(&name);
    if form == text { Ok(name) } else { Err(form) }
}

/// The byte that an escape at the front of `text` stands for. Only what needs one has one.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = text else { return None };
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let byte = digit(*high)? << 4 | digit(*low)?;
    (byte >= 0x80 || byte == b'\\').then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_text_and_every_text_one_name() {
        for (name, text) in [
            (&b"plain"[..], "plain"),
            ("ü \\ \\x41 \\xFF \\x8".as_bytes(), "ü \\ \\x41 \\xFF \\x8"),
            (b"a\xffb", "a\\xffb"),
            (b"\xc3", "\\xc3"),
            (b"\\\xff", "\\\\xff"),
            (b"\\xff", "\\x5cxff"),
            (b"\\x5c", "\\x5cx5c"),
            (b"\\x8\xff", "\\x8\\xff"),
            (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        ] {
            assert_eq!(shown(OsStr::from_bytes(name)), text);
            assert_eq!(parse(text).as_deref(), Ok(OsStr::from_bytes(name)), "{text}");
        }
        // A forbidden path must have no second spelling.
        for (spelling, form) in
            [("\\xc3\\xa9", "é"), ("a\\x5cb", "a\\b"), ("\\x5c", "\\"), ("/a/\\xc3\\xa9/b", "/a/é/b")]
        {
            assert_eq!(parse(spelling), Err(form.to_owned()));
        }
    }

    #[test]
    fn whatever_bytes_a_name_has_they_come_back() {
        for seed in (0..0x100_0000u32).step_by(101) {
            let bytes = seed.to_le_bytes();
            for name in [&bytes[..3], &[b'\\', b'x', bytes[0], bytes[1], bytes[2]]] {
                assert_eq!(parse(&shown(OsStr::from_bytes(name))).as_deref(), Ok(OsStr::from_bytes(name)));
            }
        }
    }
}
