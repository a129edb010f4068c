//! The keys that a ledger has had. Each hands over to the next in a record that both signed; an earlier one's word stands for heads
//! up to that record, and for nothing after it.
use super::export::Rotation;
use super::head::{Signed, Verifier};
use crate::id::ProjectId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    newest: Verifier,
    /// With the size of the last head that each may have signed.
    earlier: Vec<(Verifier, u64)>,
}

impl Keys {
    /// Of a ledger whose key never changed.
    pub fn one(key: Verifier) -> Keys {
        Keys { newest: key, earlier: Vec::new() }
    }

    /// Follows the rotations, each with the index of its record, oldest first. `known` is any of the keys.
    ///
    /// # Errors
    /// What is wrong with one, or that `known` is none of them.
    pub fn follow(known: Verifier, project: ProjectId, rotations: &[(u64, Rotation)]) -> Result<Keys, String> {
        let Some((_, first)) = rotations.first() else { return Ok(Keys::one(known)) };
        let mut keys = Keys::one(Verifier::from_hex(&first.old)?);
        for (index, rotation) in rotations {
            let next = rotation.verified(&keys.newest, project).filter(|_| rotation.size == *index);
            let next =
                next.ok_or_else(|| format!("record {index} hands over to another key without both signatures"))?;
            keys.earlier.push((std::mem::replace(&mut keys.newest, next), rotation.size));
        }
        let is_known = keys.newest == known || keys.earlier.iter().any(|(key, _)| *key == known);
        is_known.then_some(keys).ok_or_else(|| "the public key is none that this ledger has had".to_string())
    }

    pub fn newest(&self) -> &Verifier {
        &self.newest
    }

    /// Was this head signed by the key that the ledger had when it was made?
    pub fn holds(&self, signed: &Signed) -> bool {
        self.newest.holds(signed)
            || self.earlier.iter().any(|(key, size)| signed.head.size <= *size && key.holds(signed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::Hash;
    use crate::id::Mint;
    use crate::ledger::{Head, Signer};
    use crate::time::{Run, Time};

    #[test]
    fn an_earlier_key_s_word_stands_up_to_its_rotation_and_a_key_that_was_not_handed_over_to_is_none() {
        let project = ProjectId::mint(&mut Mint::new(Time::from_millis(1), 1));
        let [a, b, c] = [1, 2, 3].map(|seed| Signer::new(&[seed; 32]));
        let rotation = |old, new, size| {
            (size, Rotation::sign((old, new), project, (size, Hash::of(b"root")), "yearly".to_string()).unwrap())
        };
        let head = |size| Head {
            project,
            size,
            root: Hash::of(b"r"),
            last: Hash::of(b"l"),
            at: Time::from_millis(3),
            run: Run::from_millis(2),
        };
        let both = [rotation(&a, &b, 5), rotation(&b, &c, 9)];
        for known in [&a, &b, &c] {
            let keys = Keys::follow(known.verifier(), project, &both).unwrap();
            assert_eq!(*keys.newest(), c.verifier());
            assert!(keys.holds(&a.sign(head(5)).unwrap()) && !keys.holds(&a.sign(head(6)).unwrap()));
            assert!(keys.holds(&b.sign(head(9)).unwrap()) && !keys.holds(&b.sign(head(10)).unwrap()));
            assert!(keys.holds(&c.sign(head(10)).unwrap()));
        }
        assert!(Keys::follow(Signer::new(&[4; 32]).verifier(), project, &both).is_err());
        let skipped = [rotation(&a, &b, 5), rotation(&a, &c, 9)];
        let mut moved = both.clone();
        moved[1].0 = 8;
        let mut renamed = both.clone();
        renamed[1].1.new = Signer::new(&[4; 32]).verifier().to_hex();
        for wrong in [&skipped, &moved, &renamed] {
            assert!(Keys::follow(a.verifier(), project, wrong).is_err());
        }
    }
}
