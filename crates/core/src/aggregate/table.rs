//! What follows from the table of aggregates: the closed enums over all of them, and their exhaustive matches. Must never
//! name an aggregate; the table, in the parent, does.

macro_rules! aggregates { ($($Name:ident: $Fold:ty, $Id:ty);+ $(;)?) => {
    /// One stream an aggregate.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Stream { $($Name($Id)),+ }

    /// A change that somebody wants, addressed to one aggregate; its decision may write others too.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Command { $($Name($Id, <$Fold as Aggregate>::Command)),+ }

    /// Serialises as `{"kind": …, "data": …}`, which a record carries at its top level.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
    #[serde(untagged)]
    pub enum Event { $($Name(<$Fold as Aggregate>::Event)),+ }

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(tag = "fold", rename_all = "snake_case")]
    pub enum Fold { $($Name($Fold)),+ }

    /// Why a command changed nothing. Said to the caller, and recorded.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Refusal { $($Name(<$Fold as Aggregate>::Refusal)),+ }

    $(impl Member for $Fold {
        fn stream(id: $Id) -> Stream {
            Stream::$Name(id)
        }

        fn id(stream: Stream) -> Option<$Id> {
            if let Stream::$Name(id) = stream { Some(id) } else { None }
        }

        fn of(fold: &Fold) -> Option<&Self> {
            if let Fold::$Name(inner) = fold { Some(inner) } else { None }
        }

        fn event(event: Self::Event) -> Event {
            Event::$Name(event)
        }

        fn read(event: &Event) -> Option<&Self::Event> {
            if let Event::$Name(inner) = event { Some(inner) } else { None }
        }

        fn refusal(refusal: Self::Refusal) -> Refusal {
            Refusal::$Name(refusal)
        }
    })+

    impl fmt::Display for Stream {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self { $(Stream::$Name(id) => fmt::Display::fmt(id, f)),+ }
        }
    }

    impl FromStr for Stream {
        type Err = String;

        fn from_str(text: &str) -> Result<Stream, String> {
            let prefix = text.split('_').next().unwrap_or_default();
            $(if prefix == <$Id>::PREFIX {
                return text.parse().map(Stream::$Name).map_err(|_| format!("`{text}` names no stream"));
            })+
            Err(format!("`{text}` names no stream"))
        }
    }

    impl Command {
        pub fn stream(&self) -> Stream {
            match self { $(Command::$Name(id, _) => Stream::$Name(*id)),+ }
        }

        pub fn verb(&self) -> Verb {
            match self { $(Command::$Name(_, command) => command.verb()),+ }
        }

        /// The bytes that its events would bind.
        pub fn payloads(&self) -> Vec<&Payload> {
            match self { $(Command::$Name(_, command) => command.payloads()),+ }
        }

        pub(crate) fn decide(self, draft: &mut Draft<'_>) -> Result<(), Stop> {
            match self { $(Command::$Name(id, command) => <$Fold as Aggregate>::decide(id, draft, command)),+ }
        }
    }

    impl Event {
        /// `noun.past`, as on disk.
        pub fn kind(&self) -> &'static str {
            match self { $(Event::$Name(event) => event.kind()),+ }
        }

        /// The version that this program writes of its kind.
        pub fn version(&self) -> u32 {
            let version = match self { $(Event::$Name(event) => <$Fold as Aggregate>::Event::version(event.kind())),+ };
            version.expect("invariant: every kind has a version")
        }

        /// The payloads that it binds.
        pub fn binds(&self, each: &mut dyn FnMut(&Hash)) {
            match self { $(Event::$Name(event) => <$Fold as Aggregate>::binds(event, each)),+ }
        }

        /// The event that a refused command leaves in this stream.
        pub fn refused(stream: Stream, refused: Refused) -> Event {
            match stream { $(Stream::$Name(_) => Event::$Name(<$Fold as Aggregate>::Event::refused(refused))),+ }
        }

        /// Reads an event as stored: its data's text.
        ///
        /// # Errors
        /// A kind or version that this program does not know, or data of another shape: the ledger is not opened then.
        pub fn read(stream: Stream, kind: &str, version: u32, data: &str) -> Result<Event, String> {
            match stream { $(
                Stream::$Name(_) => read::<<$Fold as Aggregate>::Event>(kind, version, data).map(Event::$Name)
            ),+ }
            .map_err(|error| format!("event `{kind}` (version {version}) of {stream} {error}"))
        }
    }

    impl Fold {
        /// What the world owes this state.
        pub fn owed(&self) -> Vec<Owed> {
            match self { $(Fold::$Name(fold) => fold.owed()),+ }
        }
    }

    impl Refusal {
        /// Its stable name.
        pub fn code(&self) -> &'static str {
            match self { $(Refusal::$Name(refusal) => refusal.code()),+ }
        }

        pub fn is_quiet(&self) -> bool {
            match self { $(Refusal::$Name(refusal) => refusal.is_quiet()),+ }
        }
    }

    /// Total: replaying a stream under the same code gives the same bytes.
    pub fn apply(fold: &mut Option<Fold>, event: &Event, stamp: Stamp) {
        match event { $(Event::$Name(event) => {
            let mut inner = fold.take().and_then(|fold| if let Fold::$Name(inner) = fold { Some(inner) } else { None });
            <$Fold as Aggregate>::apply(&mut inner, event, stamp);
            *fold = inner.map(Fold::$Name);
        })+ }
    }

    /// The rows of one event, seen from the fold before it.
    pub fn event_rows(stream: Stream, before: Option<&Fold>, event: &Event, stamp: Stamp) -> Vec<Row> {
        match (stream, event) {
            $((Stream::$Name(id), Event::$Name(event)) => {
                <$Fold as Aggregate>::rows(id, before.and_then(<$Fold as Member>::of), event, stamp)
            })+
            // A stream holds events of its own aggregate only.
            ($(Stream::$Name(_))|+, _) => Vec::new(),
        }
    }

    /// The rows that a fold alone implies, where they differ from those of the fold before.
    pub fn state_rows(stream: Stream, before: Option<&Fold>, after: &Fold) -> Vec<Row> {
        match (stream, after) {
            $((Stream::$Name(id), Fold::$Name(after)) => {
                <$Fold as Aggregate>::state_rows(id, before.and_then(<$Fold as Member>::of), after)
            })+
            ($(Stream::$Name(_))|+, _) => Vec::new(),
        }
    }
}; }

pub(crate) use aggregates;
