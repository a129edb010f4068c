//! Takes the values of secrets out of what crosses a border: as they are, and in the spellings that programs and services give
//! them. One automaton over all of them looks at each byte once. Must never: write a value anywhere, or let a part of one through
//! because it came in two chunks.
mod spelling;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

/// A handle on the values that are scrubbed; all its clones see the same ones.
#[derive(Clone, Default)]
pub struct Scrubber(Arc<RwLock<Arc<Forms>>>);

/// What one set of values is found by.
#[derive(Default)]
struct Forms {
    /// None while there is nothing to find.
    automaton: Option<AhoCorasick>,
    /// Of each pattern, what is written in its place.
    marks: Vec<Arc<str>>,
    /// The patterns in order, so that what begins like one is found.
    sorted: Vec<Zeroizing<Vec<u8>>>,
    longest: usize,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").field("patterns", &self.forms().marks.len()).finish()
    }
}

/// What stands where a value stood.
pub fn mark(name: &str) -> String {
    format!("[secret {name}]")
}

impl Scrubber {
    /// One that knows these values alone.
    pub fn of<'a>(values: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Scrubber {
        let scrubber = Scrubber::default();
        scrubber.set(values);
        scrubber
    }

    /// Takes these values, each with its secret's name, in the place of all that it knew.
    pub fn set<'a>(&self, values: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
        let mut patterns: BTreeMap<Vec<u8>, Arc<str>> = BTreeMap::new();
        for (name, value) in values {
            let mark: Arc<str> = mark(name).into();
            for form in spelling::forms(value) {
                patterns.entry(form).or_insert_with(|| Arc::clone(&mark));
            }
        }
        let forms = Arc::new(Forms::of(patterns));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = forms;
    }

    fn forms(&self) -> Arc<Forms> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn is_empty(&self) -> bool {
        self.forms().automaton.is_none()
    }

    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.forms().automaton.as_ref().is_some_and(|automaton| automaton.is_match(bytes))
    }

    pub fn bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        let forms = self.forms();
        if !forms.finds(bytes) {
            return Cow::Borrowed(bytes);
        }
        let mut clean = Vec::with_capacity(bytes.len());
        forms.write(bytes, bytes.len(), &mut clean);
        Cow::Owned(clean)
    }

    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(clean) => Cow::Owned(String::from_utf8_lossy(&clean).into_owned()),
        }
    }

    pub fn string(&self, text: &mut String) {
        if let Cow::Owned(clean) = self.text(text) {
            *text = clean;
        }
    }

    /// Each text of it, each name of a field, and a number whose digits are a value.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                if let Cow::Owned(clean) = self.text(&number.to_string()) {
                    *value = Value::String(clean);
                }
            }
            Value::String(text) => self.string(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                if fields.keys().any(|name| self.finds(name.as_bytes())) {
                    let named = std::mem::take(fields).into_iter();
                    *fields = named.map(|(name, field)| (self.text(&name).into_owned(), field)).collect();
                }
                fields.values_mut().for_each(|field| self.value(field));
            }
        }
    }

    /// What is JSON stays JSON.
    pub fn payload(&self, bytes: Vec<u8>) -> Vec<u8> {
        if !self.finds(&bytes) {
            return bytes;
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(mut value) => {
                self.value(&mut value);
                self.bytes(value.to_string().as_bytes()).into_owned()
            }
            Err(_) => self.bytes(&bytes).into_owned(),
        }
    }

    /// What comes in chunks.
    pub fn stream(&self) -> ScrubbedStream {
        ScrubbedStream { scrubber: self.clone(), held: Zeroizing::default() }
    }
}

impl Forms {
    fn of(patterns: BTreeMap<Vec<u8>, Arc<str>>) -> Forms {
        if patterns.is_empty() {
            return Forms::default();
        }
        let (sorted, marks): (Vec<_>, Vec<_>) =
            patterns.into_iter().map(|(pattern, mark)| (Zeroizing::new(pattern), mark)).unzip();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(sorted.iter().map(|pattern| pattern.as_slice()))
            .expect("invariant: values are bounded, and so are their patterns");
        let longest = sorted.iter().map(|pattern| pattern.len()).max().unwrap_or(0);
        Forms { automaton: Some(automaton), marks, sorted, longest }
    }

    fn finds(&self, bytes: &[u8]) -> bool {
        self.automaton.as_ref().is_some_and(|automaton| automaton.is_match(bytes))
    }

    /// Writes what begins before `until`, values replaced; gives where the rest begins. Parts of one value that stand one after
    /// another become one mark.
    fn write(&self, bytes: &[u8], until: usize, clean: &mut Vec<u8>) -> usize {
        let mut done = 0;
        let mut last: Option<(usize, &Arc<str>)> = None;
        for found in self.automaton.iter().flat_map(|automaton| automaton.find_iter(bytes)) {
            if found.start() >= until {
                break;
            }
            let mark = &self.marks[found.pattern().as_usize()];
            clean.extend_from_slice(&bytes[done..found.start()]);
            if last.is_none_or(|(end, other)| end != found.start() || other != mark) {
                clean.extend_from_slice(mark.as_bytes());
            }
            done = found.end();
            last = Some((done, mark));
        }
        if done < until {
            clean.extend_from_slice(&bytes[done..until]);
            done = until;
        }
        done
    }

    /// Where what may go on as a value begins: the earliest end of `bytes` that is the beginning of a pattern.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let first = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        (first..bytes.len()).find(|start| self.begins(&bytes[*start..])).unwrap_or(bytes.len())
    }

    fn begins(&self, end: &[u8]) -> bool {
        let place = self.sorted.partition_point(|pattern| pattern.as_slice() < end);
        // The first that is not below it begins with it, if one does; itself alone is whole.
        let like = |pattern: &Zeroizing<Vec<u8>>| pattern.len() > end.len() && pattern.starts_with(end);
        self.sorted[place..].iter().take(2).any(like)
    }
}

/// One stream of bytes. It holds back what may be the beginning of a value, until it is known.
#[derive(Debug)]
pub struct ScrubbedStream {
    scrubber: Scrubber,
    held: Zeroizing<Vec<u8>>,
}

impl ScrubbedStream {
    /// What may be passed on now.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        let forms = self.scrubber.forms();
        if forms.automaton.is_none() && self.held.is_empty() {
            return chunk.to_vec();
        }
        self.held.extend_from_slice(chunk);
        let (until, mut clean) = (forms.open_end(&self.held), Vec::with_capacity(chunk.len()));
        let done = forms.write(&self.held, until, &mut clean);
        self.held.drain(..done);
        clean
    }

    /// The rest: the stream has ended.
    pub fn end(self) -> Vec<u8> {
        let forms = self.scrubber.forms();
        let mut clean = Vec::with_capacity(self.held.len());
        forms.write(&self.held, self.held.len(), &mut clean);
        clean
    }

    pub fn holds_nothing(&self) -> bool {
        self.held.is_empty()
    }
}

/// A stream of text: letters that are cut by a chunk's end wait for the rest.
#[derive(Debug)]
pub struct ScrubbedText(ScrubbedStream);

impl ScrubbedText {
    pub fn new(scrubber: &Scrubber) -> ScrubbedText {
        ScrubbedText(scrubber.stream())
    }

    pub fn push(&mut self, chunk: &str) -> String {
        // Patterns begin where letters do, so that nothing is held back from within one.
        String::from_utf8_lossy(&self.0.push(chunk.as_bytes())).into_owned()
    }

    pub fn end(self) -> String {
        String::from_utf8_lossy(&self.0.end()).into_owned()
    }

    pub fn holds_nothing(&self) -> bool {
        self.0.holds_nothing()
    }
}

#[cfg(test)]
mod tests;
