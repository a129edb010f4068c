//! Rules as they are gathered, and how words of commands, paths and hosts become conditions.
use super::{Imported, LeftOut};
use tenure_core::approval::cedar_text;

pub(super) const RUN: &[&str] = &["process.run"];
/// All by which files come to be others.
pub(super) const WRITE: &[&str] = &[
    "filesystem.write",
    "filesystem.append",
    "filesystem.edit",
    "filesystem.delete",
    "filesystem.restore",
    "network.download",
];

/// Of rules on programs.
const PROGRAMS: &str = "Rules on programs read the words that a program is started with: its name, wherever it lies, and what a common \
launcher (env, sudo, timeout, xargs, sh -c and the like) is plainly told to run. What a shell, a script or another program then \
runs they do not see. The wall is the jail and the network rules of the manifest, under spec.security.";
const LINE_LETTERS: usize = 120;

/// Words that a rule can name.
const WORDS_MAX: usize = 16;
/// A word with one of these is read by a shell, and none is asked here.
const SHELL: &str = "|&;<>()$`\"'\\?[]{}~!#\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Say {
    Forbid,
    Ask,
}

/// A condition of a call, with a call that it holds of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    /// None holds of each call of its actions.
    pub(super) condition: Option<String>,
    /// As `{capability = …}`.
    pub(super) example: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Sheet {
    rules: Vec<String>,
    left_out: Vec<LeftOut>,
}

impl Sheet {
    pub(super) fn leave_out(&mut self, line: u32, what: impl Into<String>, why: impl Into<String>) {
        self.left_out.push(LeftOut { line, what: what.into(), why: why.into() });
    }

    /// A rule on calls that the case holds of.
    pub(super) fn rule(&mut self, said: &str, say: Say, actions: &[&str], case: &Case, reason: Option<&str>) {
        let when = case.condition.as_ref().map(|condition| format!("\nwhen {{ {condition} }}")).unwrap_or_default();
        let example = case.example.as_ref().map(|text| format!("@match({})\n", cedar_text(text))).unwrap_or_default();
        self.write(said, say, actions, &format!("{}{example}", reason_of(reason)), &when);
    }

    /// The same, with a call that it leaves alone.
    pub(super) fn rule_but(
        &mut self,
        said: &str,
        say: Say,
        actions: &[&str],
        case: &Case,
        but: &str,
        why: Option<&str>,
    ) {
        let when = case.condition.as_ref().map(|condition| format!("\nwhen {{ {condition} }}")).unwrap_or_default();
        let example = case.example.as_ref().map(|text| format!("@match({})\n", cedar_text(text))).unwrap_or_default();
        let not = format!("@not_match({})\n", cedar_text(but));
        self.write(said, say, actions, &format!("{}{example}{not}", reason_of(why)), &when);
    }

    /// A rule on all calls but those.
    pub(super) fn all_but(&mut self, said: &str, say: Say, actions: &[&str], but: &[Case]) {
        if but.iter().any(|case| case.condition.is_none()) {
            return;
        }
        let conditions: Vec<String> =
            but.iter().filter_map(|case| Some(format!("({})", case.condition.as_ref()?))).collect();
        let unless = match conditions.is_empty() {
            true => String::new(),
            false => format!("\nunless {{\n  {}\n}}", conditions.join(" ||\n  ")),
        };
        let examples: String = but
            .iter()
            .filter_map(|case| case.example.as_ref())
            .take(8)
            .enumerate()
            .map(|(number, text)| format!("@not_match_{}({})\n", number + 1, cedar_text(text)))
            .collect();
        self.write(said, say, actions, &examples, &unless);
    }

    fn write(&mut self, said: &str, say: Say, actions: &[&str], annotations: &str, clause: &str) {
        let (verdict, effect) = match say {
            Say::Forbid => ("", "forbid"),
            Say::Ask => ("@verdict(\"approval_required\")\n", "permit"),
        };
        let names: Vec<String> = actions.iter().map(|name| format!("Action::{}", cedar_text(name))).collect();
        let action = match names.as_slice() {
            [one] if !actions[0].ends_with('*') => format!("action == {one}"),
            many => format!("action in [{}]", many.join(", ")),
        };
        let said: String = said.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        self.rules.push(format!("// {said}\n{verdict}{annotations}{effect}(principal, {action}, resource){clause};\n"));
    }

    pub(super) fn finish(mut self) -> Imported {
        self.left_out.sort();
        let rules = self.rules.len() as u64;
        let text = self.rules.join("\n");
        let notes: Vec<String> = text.contains("context.argv0").then(|| PROGRAMS.to_string()).into_iter().collect();
        let head: String = notes.iter().flat_map(|note| wrapped(note)).map(|line| format!("// {line}\n")).collect();
        let gap = if head.is_empty() { "" } else { "\n" };
        Imported { text: format!("{head}{gap}{text}"), rules, left_out: self.left_out, notes }
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("invariant: there is a line");
        match line.len() {
            0 => line.push_str(word),
            used if used + 1 + word.len() <= LINE_LETTERS => line.extend([" ", word]),
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

fn reason_of(reason: Option<&str>) -> String {
    let line = reason.map(|reason| reason.split_whitespace().collect::<Vec<_>>().join(" "));
    let fits = line.filter(|line| (1..=512).contains(&line.len()));
    fits.map(|line| format!("@reason({})\n", cedar_text(&line))).unwrap_or_default()
}

/// Words as a program gets them, where no shell would make others of them.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let words: Vec<String> = text.split_whitespace().map(str::to_string).collect();
    let plain = words.iter().all(|word| !word.contains(|letter| SHELL.contains(letter) || letter == '*'));
    (plain && !words.is_empty() && words.len() <= WORDS_MAX).then_some(words)
}

/// Commands that begin with these words; with `whole` those of no other word.
pub(super) fn command(words: &[Vec<String>], whole: bool) -> Case {
    let mut conditions: Vec<String> = Vec::new();
    // A place of no words may hold any.
    for (place, any) in words.iter().enumerate().filter(|(_, any)| !any.is_empty()) {
        let any: Vec<String> = any.iter().map(|word| format!("context.argv{place} == {}", cedar_text(word))).collect();
        let is = if any.len() == 1 { any.join("") } else { format!("({})", any.join(" || ")) };
        conditions.push(format!("context has argv{place} && {is}"));
    }
    if whole {
        conditions.push(format!("context.argc == {}", words.len()));
    }
    let first: Vec<&String> = words.iter().filter_map(|any| any.first()).collect();
    Case { condition: Some(conditions.join(" && ")), example: run_example(&first) }
}

/// The same wherever the program lies, and where a launcher is told to run it: more than was said may fit, never less. A seat belt:
/// a program can be told in ways that no rule reads.
pub(super) fn command_however_run(words: &[Vec<String>], whole: bool) -> Case {
    let own = command(words, whole);
    let Some((programs, rest)) = words.split_first() else { return own };
    let named: Vec<String> = programs.iter().map(|program| by_name("argv0", program)).collect();
    let mut direct = vec![format!("context has argv0 && ({})", named.join(" || "))];
    direct.extend(command(&[&[Vec::new()][..], rest].concat(), whole).condition.filter(|told| !told.is_empty()));
    let lines = lines(words);
    let condition = match lines.is_empty() {
        true => direct.join(" && "),
        false => {
            format!("({}) ||\n  ({})", direct.join(" && "), launched(&lines, if whole { &[""] } else { &["", " *"] }))
        }
    };
    Case { condition: Some(condition), example: own.example }
}

/// The same of a command with stars inside.
pub(super) fn pattern_however_run(pattern: &str) -> Case {
    let direct = [like("command", pattern), like("command", &format!("*/{pattern}"))].join(" || ");
    let condition = format!("{direct} ||\n  ({})", launched(&[pattern.to_string()], &[""]));
    Case { condition: Some(condition), example: None }
}

/// Programs that run the program that they are told.
const LAUNCHERS: [&str; 15] = [
    "env", "nohup", "timeout", "sudo", "doas", "xargs", "nice", "setsid", "stdbuf", "time", "sh", "bash", "dash",
    "zsh", "busybox",
];
/// Lines that one rule looks for behind a launcher.
const LINES_MAX: usize = 16;
/// What stands before a command in a line: a gap, the path that it lies in, a shell's own signs.
const BEFORE: [&str; 7] = [" ", "/", ";", "&", "|", "(", "\n"];

fn launched(lines: &[String], ends: &[&str]) -> String {
    let launchers: Vec<String> = LAUNCHERS.iter().map(|launcher| cedar_text(launcher)).collect();
    let paths: Vec<String> = LAUNCHERS.iter().map(|launcher| like("argv0", &format!("*/{launcher}"))).collect();
    let found: Vec<String> = lines
        .iter()
        .flat_map(|line| {
            BEFORE.iter().flat_map(move |before| ends.iter().map(move |end| format!("*{before}{line}{end}")))
        })
        .map(|pattern| like("command", &pattern))
        .collect();
    format!(
        "context has argv0 &&\n   ([{}].contains(context.argv0) ||\n    {}) &&\n   ({})",
        launchers.join(", "),
        paths.join(" || "),
        found.join(" || ")
    )
}

/// The program alone, or with the path that it lies in.
fn by_name(attribute: &str, program: &str) -> String {
    let exact = format!("context.{attribute} == {}", cedar_text(program));
    match program.contains('/') {
        true => exact,
        false => format!("{exact} || {}", like(attribute, &format!("*/{program}"))),
    }
}

/// Each way in which the words can be said; none where there are too many.
fn lines(words: &[Vec<String>]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for any in words {
        if lines.len() * any.len() > LINES_MAX {
            return Vec::new();
        }
        let with = |line: &String, word: &String| if line.is_empty() { word.clone() } else { format!("{line} {word}") };
        lines = lines.iter().flat_map(|line| any.iter().map(move |word| with(line, word))).collect();
    }
    lines
}

/// Whether a rule can look for them behind a launcher.
pub(super) fn too_many_ways(words: &[Vec<String>]) -> bool {
    lines(words).is_empty()
}

pub(super) fn run_example(words: &[&String]) -> Option<String> {
    let quoted: Option<Vec<String>> = words.iter().map(|word| literal(word)).collect();
    let quoted = quoted?;
    let (program, args) = quoted.split_first()?;
    let args = if args.is_empty() { String::new() } else { format!(", args = [{}]", args.join(", ")) };
    Some(format!("{{capability = 'process.run', input = {{command = {program}{args}}}}}"))
}

pub(super) fn literal(text: &str) -> Option<String> {
    (!text.contains('\'') && !text.chars().any(char::is_control)).then(|| format!("'{text}'"))
}

/// A pattern of `like`: a star stands for any text, also over folders.
pub(super) fn like(attribute: &str, pattern: &str) -> String {
    let parts: Vec<String> = pattern
        .split('*')
        .map(|part| {
            let quoted = cedar_text(part);
            quoted[1..quoted.len() - 1].to_string()
        })
        .collect();
    format!("context.{attribute} like \"{}\"", parts.join("*"))
}
