//! What an edit of a text comes to. Must never: change the kind of line ends that a file has.

use std::borrow::Cow;

/// One text for another in a content, line ends as the content has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement<'a> {
    find: Cow<'a, str>,
    replace: Cow<'a, str>,
    /// How often `find` occurs.
    pub count: usize,
}

impl<'a> Replacement<'a> {
    /// `find` is not empty. Where all lines of `content` end in CRLF, a bare LF in either text means that too. Where only some do,
    /// `find` is tried as it stands, and then as CRLF.
    pub fn of(content: &str, find: &'a str, replace: &'a str) -> Self {
        let as_it_stands = Self { find: find.into(), replace: replace.into(), count: content.matches(find).count() };
        let (crlf, all) = (content.matches("\r\n").count(), content.matches('\n').count());
        let multiline = find.contains('\n');
        if crlf == 0 || (crlf < all && (as_it_stands.count > 0 || !multiline)) {
            return as_it_stands;
        }
        let (find, replace) = (with_crlf(find), with_crlf(replace));
        Self { count: content.matches(&*find).count(), find, replace }
    }

    /// Bytes of what `apply` gives.
    pub fn size(&self, content: &str) -> u64 {
        (content.len() - self.count * self.find.len() + self.count * self.replace.len()) as u64
    }

    /// The content with each occurrence replaced.
    pub fn apply(&self, content: &str) -> String {
        content.replace(&*self.find, &self.replace)
    }
}

/// Each LF that stands alone becomes CRLF.
fn with_crlf(text: &str) -> Cow<'_, str> {
    if text.contains('\n') { text.replace("\r\n", "\n").replace('\n', "\r\n").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_stay_what_they_are() {
        for (content, find, replace, expected) in [
            ("a\r\nb\r\nc\r\n", "a\nb", "x\ny\nz", "x\r\ny\r\nz\r\nc\r\n"),
            ("a\r\nb\r\n", "b", "x\ny", "a\r\nx\r\ny\r\n"),
            ("a\r\nb\r\n", "a\r\nb", "x\r\ny", "x\r\ny\r\n"),
            ("a\nb\n", "a\nb", "x\r\ny", "x\r\ny\n"),
            ("a\r\nb\nc\r\nd", "a\nb", "x\ny", "x\r\ny\nc\r\nd"),
            ("a\r\nb\nc\nd", "b\nc", "x\ny", "a\r\nx\ny\nd"),
            ("a\r\nb\nc", "c", "x\ny", "a\r\nb\nx\ny"),
        ] {
            let replacement = Replacement::of(content, find, replace);
            assert_eq!((replacement.count, replacement.apply(content).as_str()), (1, expected), "{content:?}");
            assert_eq!(replacement.size(content), expected.len() as u64);
        }
        assert_eq!(Replacement::of("a\r\n", "a\nb", "").count, 0);
    }
}
