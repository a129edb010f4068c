//! Ids: a prefix and a UUIDv7 in 26 letters of base32 (Crockford's alphabet, lower case).
//! Time and randomness come in as arguments; nothing here may read a clock or a generator.
use crate::time::Time;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LETTERS: usize = 26;
/// Letters at the end of an id that lists show.
const SHORT: usize = 8;

/// Why a text is no id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind} id: expected `{prefix}_` and 26 letters of base32")]
pub struct IdError {
    pub kind: &'static str,
    pub prefix: &'static str,
    pub text: String,
}

/// Makes the ids of one decision: the same seed and time give the same ids in the same order.
#[derive(Debug, Clone)]
pub struct Mint {
    now: Time,
    seed: u128,
    made: u64,
}

impl Mint {
    pub fn new(now: Time, seed: u128) -> Mint {
        Mint { now, seed, made: 0 }
    }

    /// Randomness for a payload that the decision makes.
    pub fn salt(&mut self) -> [u8; 16] {
        self.made += 1;
        let mut bytes = [0u8; 32];
        bytes[..16].copy_from_slice(&self.seed.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.made.to_le_bytes());
        // Ids show the seed's neighbours, so a salt is one step away from it.
        let digest = crate::bound::Hash::of(&bytes);
        let mut salt = [0u8; 16];
        salt.copy_from_slice(&digest.0[..16]);
        salt
    }

    fn uuid(&mut self) -> u128 {
        self.made += 1;
        let random = self.seed.wrapping_add(u128::from(self.made));
        let milliseconds = (self.now.millis().max(0) as u128) & ((1 << 48) - 1);
        // RFC 9562, section 5.7: 48 bits of time, version 7, 12 random, variant 10, 62 random.
        (milliseconds << 80) | (7 << 76) | (((random >> 62) & 0xfff) << 64) | (2 << 62) | (random & ((1 << 62) - 1))
    }
}

fn encode(value: u128) -> [u8; LETTERS] {
    let mut letters = [b'0'; LETTERS];
    for (place, letter) in letters.iter_mut().enumerate() {
        let shift = 5 * (LETTERS - 1 - place);
        *letter = ALPHABET[((value >> shift) & 31) as usize];
    }
    letters
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != LETTERS || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut value: u128 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        value = (value << 5) | digit as u128;
    }
    Some(value)
}

/// What a text is the id of, whole or short; none where it has the form of none.
pub fn kind_of(text: &str) -> Option<&'static str> {
    let (prefix, letters) = text.split_once('_')?;
    let fits = [SHORT, LETTERS].contains(&letters.len()) && letters.bytes().all(|letter| ALPHABET.contains(&letter));
    let mut known = KINDS.iter().filter(|_| fits);
    known.find_map(|(known, kind)| (*known == prefix).then_some(*kind))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal $kind:literal;)*) => {
        const KINDS: &[(&str, &str)] = &[$(($prefix, $kind)),*];

        $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn mint(mint: &mut Mint) -> $name {
                $name(mint.uuid())
            }

            /// To the millisecond; of one that was minted.
            pub fn minted_at(self) -> Time {
                Time::from_millis(i64::try_from(self.0 >> 80).unwrap_or(i64::MAX))
            }

            /// The prefix and the last eight letters, as lists show it.
            pub fn short(&self) -> String {
                let letters = encode(self.0);
                format!("{}_{}", $prefix, String::from_utf8_lossy(&letters[LETTERS - SHORT..]))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let letters = encode(self.0);
                f.pad(&format!("{}_{}", $prefix, std::str::from_utf8(&letters).expect("base32 is ASCII")))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<$name, IdError> {
                text.strip_prefix(concat!($prefix, "_")).and_then(decode).map($name).ok_or_else(|| IdError {
                    kind: $kind,
                    prefix: $prefix,
                    text: text.chars().take(64).collect(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
        )*
    };
}

ids! {
    AgentId "agt" "agent";
    ExecutionId "exe" "execution";
    CallId "call" "call";
    /// One grant of one call to one worker's connection; a later attempt of the same call has another.
    LeaseId "lea" "lease";
    WorkerId "wrk" "worker";
    /// The time in which one worker process is known to live.
    ConnectionId "con" "connection";
    KeyId "key" "key";
    SessionId "ses" "session";
    InstanceId "ins" "instance";
    /// One message; of a broadcast each recipient has it under the same id.
    MessageId "msg" "message";
    AlertId "alr" "alert";
    ApprovalId "apr" "approval";
    GrantId "grt" "grant";
    SecretId "sec" "secret";
    PackageId "pkg" "package";
    ProjectId "prj" "project";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_written_and_sorts_by_time() {
        let early = AgentId::mint(&mut Mint::new(Time::from_millis(1_000), 7));
        let late = AgentId::mint(&mut Mint::new(Time::from_millis(2_000), 3));
        assert_eq!(early.to_string().parse::<AgentId>(), Ok(early));
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.to_string().len(), "agt_".len() + 26);
        assert!(early.to_string().ends_with(&early.short()[4..]));
    }

    #[test]
    fn an_id_of_another_kind_or_a_broken_one_is_refused() {
        let id = AgentId::mint(&mut Mint::new(Time::from_millis(1), 1)).to_string();
        assert!(id.parse::<ExecutionId>().is_err());
        assert_eq!((kind_of(&id), kind_of(&format!("exe_{}", &id[22..]))), (Some("agent"), Some("execution")));
        assert_eq!([kind_of("agt_x"), kind_of("python-coder"), kind_of("abc_01234567")], [None; 3]);
        assert!(id.to_uppercase().parse::<AgentId>().is_err());
        assert!(id.replace("agt_0", "agt_z").parse::<AgentId>().is_err());
        assert!(id[..id.len() - 1].parse::<AgentId>().is_err());
        let agent: AgentId = id.parse().unwrap();
        assert_eq!((kind_of(&id), kind_of(&agent.short())), (Some("agent"), Some("agent")));
        for none in ["agent", "agt_", "agt_short", &id[..id.len() - 1], &id.replace("agt_", "odd_"), "agt_0000000U"] {
            assert_eq!(kind_of(none), None, "{none}");
        }
    }
}
