//! A prompt tried by hand: requests from a file, events on stdout.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use tenure_wire::local::{Event, Generate, Part, read_line, to_line};

use crate::engine::{Engine, Failure, Turn, Watch};

struct Printing {
    id: u64,
}

impl Watch for Printing {
    fn stop(&self) -> Option<Failure> {
        None
    }

    fn piece(&mut self, part: Part, piece: &str) {
        // Output that nobody reads any more stops nothing here.
        let _ = print(&Event::Text { id: self.id, part, piece: piece.to_owned() });
    }
}

/// # Errors
/// When the file cannot be read or holds something else than requests.
pub(crate) fn run(file: &Path, hello: &Event, engine: &mut Engine<'_>) -> io::Result<()> {
    let mut lines: Box<dyn BufRead> =
        if file == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(BufReader::new(File::open(file)?)) };
    print(hello)?;
    while let Some(request) = read_line::<Generate>(&mut lines)? {
        let id = request.id;
        print(&match engine.generate(&request, &mut Printing { id }) {
            Ok(Turn { outcome, circled, usage, timings }) => Event::Done { id, outcome, circled, usage, timings },
            Err(Failure { kind, message, partial, usage }) => Event::Failed { id, kind, message, partial, usage },
        })?;
    }
    Ok(())
}

fn print(event: &Event) -> io::Result<()> {
    io::stdout().write_all(&to_line(event)?)?;
    io::stdout().flush()
}
