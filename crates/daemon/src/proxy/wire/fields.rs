//! The fields of one object of a request, each to be taken: what is left at the end is refused by name.
use super::Problem;
use serde_json::{Map, Value};

pub(super) struct Fields {
    map: Map<String, Value>,
    /// Where it stands, for people.
    at: String,
    left_out: Vec<String>,
}

impl Fields {
    pub(super) fn of(value: Value, at: &str) -> Result<Fields, Problem> {
        match value {
            Value::Object(map) => Ok(Fields { map, at: at.to_string(), left_out: Vec::new() }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(Problem::field(if at.is_empty() { "body" } else { at }, "it must be a JSON object"))
            }
        }
    }

    pub(super) fn at(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_string() } else { format!("{}.{name}", self.at) }
    }

    /// A null is no value.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Problem::field(self.at(name), "it must be a text")),
        }
    }

    pub(super) fn needed(&mut self, name: &str) -> Result<String, Problem> {
        self.text(name)?.ok_or_else(|| Problem::field(self.at(name), "it is missing"))
    }

    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => Err(Problem::field(self.at(name), "it must be a whole number, not below 0")),
            },
        }
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(Problem::field(self.at(name), "it must be a number")),
            },
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Problem::field(self.at(name), "it must be true or false")),
        }
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, Problem> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(Problem::field(self.at(name), "it must be a list")),
        }
    }

    /// One text, or a list of them.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, Problem> {
        let at = self.at(name);
        let wrong = || Problem::field(at.clone(), "it must be a text or a list of texts");
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    _ => Err(wrong()),
                })
                .collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// Fields that ask nothing of an answer: whose request it is, how it is kept, cached or served.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.map.remove(*name);
        }
    }

    /// Fields that ask for more or less effort, which the model behind a word decides for itself: the program is told.
    pub(super) fn leave_out(&mut self, names: &[&str]) {
        for name in names {
            if self.take(name).is_some() {
                self.left_out.push(self.at(name));
            }
        }
    }

    pub(super) fn note(&mut self, what: String) {
        self.left_out.push(what);
    }

    /// A field that is only known with this value.
    pub(super) fn only(&mut self, name: &str, known: &[Value], why: &str) -> Result<(), Problem> {
        match self.take(name) {
            Some(value) if !known.contains(&value) => Err(Problem::field(self.at(name), why)),
            Some(_) | None => Ok(()),
        }
    }

    /// What was left out; a field that nobody took is refused.
    pub(super) fn end(self) -> Result<Vec<String>, Problem> {
        match self.map.iter().find(|(_, value)| !value.is_null()) {
            Some((name, _)) => {
                let why = "this proxy does not know it, so it cannot be honoured; leave it out";
                Err(Problem::field(self.at(name), why))
            }
            None => Ok(self.left_out),
        }
    }
}
