//! What a certificate is known by: the SHA-256 of its DER form. It is printed where the daemon runs, and pinned where it is
//! reached from. It tells two certificates apart and says nothing else of either.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no fingerprint: write sha256: and 64 hexadecimal digits, as `tenure up` and `tenure status` print it"
)]
pub struct FingerprintError(String);

impl Fingerprint {
    pub fn of(der: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Also as OpenSSL prints it, with colons and in capitals.
impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Fingerprint, FingerprintError> {
        let wrong = || FingerprintError(text.chars().take(100).collect());
        let lower = text.trim().to_ascii_lowercase();
        let digits = ["sha256:", "sha256 fingerprint="].iter().find_map(|word| lower.strip_prefix(word));
        let digits: Vec<u8> = digits.unwrap_or(&lower).bytes().filter(|byte| *byte != b':').collect();
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |letter: u8| char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(wrong()) };
            *byte = high << 4 | low;
        }
        Ok(Fingerprint(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;

    fn try_from(text: String) -> Result<Fingerprint, FingerprintError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_shown_and_as_openssl_shows_it() {
        let empty = Fingerprint::of(b"");
        let shown = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.to_string(), shown);
        let bare = &shown["sha256:".len()..];
        let pairs: Vec<&str> = (0..32).map(|pair| &bare[pair * 2..pair * 2 + 2]).collect();
        let openssl = format!("SHA256 Fingerprint={}", pairs.join(":").to_uppercase());
        for text in [shown, bare, &openssl, &pairs.join(":")] {
            assert_eq!(text.parse(), Ok(empty), "{text}");
        }
        for wrong in
            ["", "sha256:", &bare[1..], &format!("{}g", &bare[1..]), &format!("sha1:{bare}"), &format!("{bare}00")]
        {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
