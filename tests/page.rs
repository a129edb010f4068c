//! A page of command lines, as a person types them one after the other into a shell: what each prints and how it ends.
use crate::daemon::{Daemon, program};
use crate::steady::steady;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// What one line printed.
#[derive(Debug)]
pub struct Printed {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Printed {
    /// It must have ended well.
    pub fn ok(self) -> Printed {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A shell beside a daemon, in the folder that holds its data directory and is its home.
pub struct Page<'d> {
    daemon: &'d Daemon,
    folder: &'d Path,
    /// The page as it looks afterwards, with what differs from run to run made the same.
    pub told: String,
}

impl Page<'_> {
    pub fn beside<'d>(daemon: &'d Daemon, folder: &'d Path) -> Page<'d> {
        Page { daemon, folder, told: String::new() }
    }

    /// Beside the page: nothing of it is told.
    pub fn shell(&self, line: &str) -> Printed {
        let tenure = program("tenure");
        let programs = tenure.parent().expect("a program lies in a folder").display();
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(self.folder).env_clear().stdin(Stdio::null());
        command.env("PATH", format!("{programs}:/usr/bin:/bin"));
        command.env("HOME", self.folder).env("TENURE_DATA_DIR", &self.daemon.data);
        let output = command.output().expect("bash runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Printed { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// One line of the page.
    pub fn line(&mut self, line: &str) -> Printed {
        let printed = self.shell(line);
        let [shown, out, err] = [line, &printed.stdout, &printed.stderr].map(|text| steady(self.folder, text));
        self.told.push_str(&format!("$ {shown}\n{out}{err}[{}]\n", printed.code));
        printed
    }

    /// Lines of the page that must all end well.
    pub fn lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.line(line).ok();
        }
    }
}
