//! The spellings in which a value may come back: what services echo, what programs print, what JSON and URLs make of it.
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use std::collections::BTreeSet;

/// A longer form is looked for in pieces, so that the automaton stays small and little is held back of a stream.
const PIECE_BYTES: usize = 128;
/// Shorter ones are found in what is no secret.
const FORM_BYTES_MIN: usize = 8;
/// A line of a value is looked for alone from here on.
const LINE_BYTES_MIN: usize = 16;
/// Of a longer value only the usual spellings are looked for: each takes memory as long as the value is kept.
const ALL_BYTES_MAX: usize = 1024;

/// All that a value is looked for by.
pub(super) fn forms(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    let all = value.len() <= ALL_BYTES_MAX;
    spell(value, all, &mut forms);
    if value.contains(&b'\n') {
        // A key in PEM is printed line by line; its first and last line say nothing.
        let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let telling = lines.filter(|line| line.len() >= LINE_BYTES_MIN && !line.starts_with(b"-----"));
        telling.for_each(|line| spell(line, all, &mut forms));
    }
    let mut pieces = BTreeSet::new();
    for form in forms.into_iter().filter(|form| form.len() >= FORM_BYTES_MIN) {
        if form.len() <= 2 * PIECE_BYTES {
            pieces.insert(form);
            continue;
        }
        let mut rest = form.as_slice();
        while rest.len() > 2 * PIECE_BYTES {
            let (piece, left) = rest.split_at(letter_start(rest, PIECE_BYTES));
            pieces.insert(piece.to_vec());
            rest = left;
        }
        pieces.insert(rest.to_vec());
    }
    pieces
}

/// This place, or the one before it where a letter of UTF-8 begins.
fn letter_start(bytes: &[u8], place: usize) -> usize {
    let within = |place: &usize| bytes[*place] & 0b1100_0000 == 0b1000_0000;
    (place.saturating_sub(3)..=place).rev().find(|place| !within(place)).unwrap_or(place)
}

/// `all`: the rare ones too.
fn spell(value: &[u8], all: bool, forms: &mut BTreeSet<Vec<u8>>) {
    forms.insert(value.to_vec());
    for before in 0..3 {
        for encoding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
            forms.insert(within_base64(encoding, value, before));
        }
    }
    forms.insert(HEXLOWER.encode(value).into_bytes());
    if !all {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        forms.insert(percent(value, &unreserved, b"0123456789ABCDEF"));
        forms.extend(std::str::from_utf8(value).map(|text| json(text).into_bytes()));
        return;
    }
    forms.insert(HEXUPPER.encode(value).into_bytes());
    let kept: [&dyn Fn(u8) -> bool; 5] = [
        &|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte),
        &|byte| byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte),
        &|byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte),
        &|byte| byte.is_ascii_alphanumeric(),
        &|_| false,
    ];
    for keeps in kept {
        for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
            let escaped = percent(value, keeps, digits);
            if value.contains(&b' ') {
                let text = String::from_utf8_lossy(&escaped).replace("%20", "+");
                forms.insert(text.into_bytes());
            }
            forms.insert(escaped);
        }
    }
    if let Ok(text) = std::str::from_utf8(value) {
        texts(text, forms);
    }
}

/// The letters that tell of this value alone, where `before` bytes stand in front of it in its group of three.
fn within_base64(encoding: &data_encoding::Encoding, value: &[u8], before: usize) -> Vec<u8> {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(value);
    let letters = encoding.encode(&bytes).into_bytes();
    let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    letters[first..end.max(first)].to_vec()
}

fn percent(value: &[u8], keeps: &dyn Fn(u8) -> bool, digits: &[u8; 16]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(value.len() * 3);
    for byte in value {
        if keeps(*byte) {
            escaped.push(*byte);
        } else {
            escaped.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
    }
    escaped
}

/// As a text of JSON, once and twice, and of HTML.
fn texts(value: &str, forms: &mut BTreeSet<Vec<u8>>) {
    let plain = json(value);
    let slashes = plain.replace('/', "\\/");
    for ascii in [unicode(&plain, false), unicode(&plain, true), unicode(&slashes, false)] {
        forms.insert(json(&ascii).into_bytes());
        forms.insert(ascii.into_bytes());
    }
    for upper in [false, true] {
        let ascii = unicode(&plain, upper);
        forms.insert(signs(&plain, upper).into_bytes());
        forms.insert(signs(&ascii, upper).into_bytes());
    }
    forms.insert(json(&plain).into_bytes());
    forms.insert(slashes.into_bytes());
    forms.insert(plain.into_bytes());
    let html = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    forms.insert(html.replace('"', "&quot;").replace('\'', "&#39;").into_bytes());
    forms.insert(html.replace('"', "&quot;").replace('\'', "&#x27;").into_bytes());
    forms.insert(html.into_bytes());
}

fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_string()
}

/// What a page could be broken by, as Go and Rails write it in JSON.
fn signs(text: &str, upper: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '<' | '>' | '\'' if upper => escaped.push_str(&format!("\\u{:04X}", u32::from(letter))),
            '&' | '<' | '>' | '\'' => escaped.push_str(&format!("\\u{:04x}", u32::from(letter))),
            other => escaped.push(other),
        }
    }
    escaped
}

/// All that is not ASCII as `\u` and four digits.
fn unicode(text: &str, upper: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() {
            escaped.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            escaped.push_str(&if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") });
        }
    }
    escaped
}
