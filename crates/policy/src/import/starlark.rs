//! As much of Starlark as files of prefix rules have: calls with named arguments that are texts, names and lists of these. What is
//! more than that is refused with its line.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// `True`, a number, a variable.
    Name(String),
    List(Vec<Value>),
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            Value::Name(_) | Value::List(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) line: u32,
    arguments: Vec<(String, Value)>,
}

impl Call {
    pub(super) fn argument(&self, name: &str) -> Option<&Value> {
        self.arguments.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    Text(String),
    Sign(char),
}

const DEPTH_MAX: usize = 8;

/// # Errors
/// What is no such file, with its line.
pub(super) fn calls(text: &str) -> Result<Vec<Call>, String> {
    let tokens = tokens(text)?;
    let (mut read, mut calls) = (Read { tokens: &tokens, at: 0 }, Vec::new());
    while let Some((token, line)) = read.peek() {
        let (Token::Name(name), line) = (token.clone(), *line) else {
            return Err(format!("line {line}: a call was expected, as prefix_rule(pattern = […])"));
        };
        read.at += 1;
        read.sign('(')?;
        let mut arguments = Vec::new();
        while !read.is(')') {
            let Some((Token::Name(argument), _)) = read.next() else {
                return Err(format!("line {line}: {name} takes named arguments only"));
            };
            read.sign('=')?;
            arguments.push((argument, read.value(0)?));
            if !read.is(')') {
                read.sign(',')?;
            }
        }
        read.sign(')')?;
        calls.push(Call { name, line, arguments });
    }
    Ok(calls)
}

struct Read<'t> {
    tokens: &'t [(Token, u32)],
    at: usize,
}

impl Read<'_> {
    fn peek(&self) -> Option<&(Token, u32)> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<(Token, u32)> {
        let next = self.peek().cloned();
        self.at += 1;
        next
    }

    fn is(&self, sign: char) -> bool {
        self.peek().is_none_or(|(token, _)| *token == Token::Sign(sign))
    }

    fn sign(&mut self, wanted: char) -> Result<(), String> {
        match self.next() {
            Some((Token::Sign(sign), _)) if sign == wanted => Ok(()),
            Some((_, line)) => Err(format!("line {line}: `{wanted}` was expected")),
            None => Err(format!("`{wanted}` is missing at the end")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        match self.next() {
            Some((Token::Text(text), _)) => Ok(Value::Text(text)),
            Some((Token::Name(name), _)) => Ok(Value::Name(name)),
            Some((Token::Sign('['), line)) => {
                if depth == DEPTH_MAX {
                    return Err(format!("line {line}: lists lie too deep"));
                }
                let mut values = Vec::new();
                while !self.is(']') {
                    values.push(self.value(depth + 1)?);
                    if !self.is(']') {
                        self.sign(',')?;
                    }
                }
                self.sign(']')?;
                Ok(Value::List(values))
            }
            Some((Token::Sign(_), line)) => Err(format!("line {line}: a text or a list was expected")),
            None => Err("a value is missing at the end".to_string()),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<(Token, u32)>, String> {
    let (mut tokens, mut line) = (Vec::new(), 1);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\n' => line += 1,
            letter if letter.is_whitespace() => {}
            '#' => while letters.next_if(|letter| *letter != '\n').is_some() {},
            '"' | '\'' => {
                let mut read = String::new();
                loop {
                    match letters.next() {
                        Some(end) if end == letter => break,
                        Some('\\') => match letters.next() {
                            Some('n') => read.push('\n'),
                            Some('t') => read.push('\t'),
                            Some(escaped @ ('\\' | '"' | '\'')) => read.push(escaped),
                            Some(_) | None => return Err(format!("line {line}: a text with an unknown escape")),
                        },
                        Some('\n') | None => return Err(format!("line {line}: a text that does not end")),
                        Some(other) => read.push(other),
                    }
                }
                tokens.push((Token::Text(read), line));
            }
            '(' | ')' | '[' | ']' | '=' | ',' => tokens.push((Token::Sign(letter), line)),
            letter if letter.is_alphanumeric() || letter == '_' => {
                let mut name = String::from(letter);
                while let Some(more) = letters.next_if(|letter| letter.is_alphanumeric() || *letter == '_') {
                    name.push(more);
                }
                tokens.push((Token::Name(name), line));
            }
            other => return Err(format!("line {line}: `{other}` is not understood")),
        }
    }
    Ok(tokens)
}
