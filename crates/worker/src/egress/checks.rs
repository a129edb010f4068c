//! What the proxy checks of a request before its rules are asked: all of it. Must never: offer a way to leave a check out, but in
//! a build for tests.

/// What a proxy without such a check would let pass, some server or resolver reads in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Heads and bodies have one reading only, and an end.
    Shape,
    /// A host is written plainly.
    Spelling,
    /// It asks for one server, by a protocol that is sent on.
    Request,
}

/// Those of one gate.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    #[cfg(feature = "controls")]
    without: Vec<Check>,
}

#[cfg(not(feature = "controls"))]
impl Checks {
    pub(super) const fn make(&self, _check: Check) -> bool {
        true
    }
}

#[cfg(feature = "controls")]
impl Checks {
    pub fn all_but(without: &[Check]) -> Checks {
        Checks { without: without.to_vec() }
    }

    pub(super) fn make(&self, check: Check) -> bool {
        !self.without.contains(&check)
    }
}
