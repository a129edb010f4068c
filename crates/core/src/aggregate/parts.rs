//! The enums of one aggregate, each with what is known of its variants beside them: `verbs!`, `events!`, `refusals!`. Must
//! never name an aggregate.

/// An enum of commands: `"noun.verb" flags => Variant`. Flags are those of [`Verb`].
macro_rules! verbs {
    ($(#[$meta:meta])* pub enum $Name:ident { $(
        $(#[$doc:meta])* $verb:literal $($flag:ident)* => $Variant:ident $body:tt
    ),+ $(,)? } $payloads:item) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $Name { $($(#[$doc])* $Variant $body),+ }

        impl $crate::aggregate::Verbs for $Name {
            fn verb(&self) -> $crate::aggregate::Verb {
                match self { $(
                    $Name::$Variant { .. } => $crate::aggregate::Verb::new($verb)$(.$flag())*
                ),+ }
            }

            $payloads
        }
    };
}

/// An enum of events: `"noun.past" version => Variant`; the version is left out while it is 1. Where a kind has changed,
/// `upcast path;` after the enum names the function that lifts its earlier data, of the type of [`Kinds::upcast`].
macro_rules! events {
    ($(#[$meta:meta])* pub enum $Name:ident { $(
        $(#[$doc:meta])* $kind:literal $($version:literal)? => $Variant:ident $body:tt
    ),+ $(,)? } $(upcast $upcast:path;)?) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(tag = "kind", content = "data")]
        pub enum $Name {
            $($(#[$doc])* #[serde(rename = $kind)] $Variant $body,)+
            #[serde(rename = "command.refused")]
            Refused($crate::aggregate::Refused),
        }

        impl $crate::aggregate::Kinds for $Name {
            const KINDS: &'static [&'static str] = &[$($kind,)+ "command.refused"];

            fn kind(&self) -> &'static str {
                match self {
                    $($Name::$Variant { .. } => $kind,)+
                    $Name::Refused(_) => "command.refused",
                }
            }

            fn version(kind: &str) -> Option<u32> {
                match kind {
                    $($kind => Some([1, $($version)?][[1, $($version)?].len() - 1]),)+
                    "command.refused" => Some(1),
                    _ => None,
                }
            }

            $(fn upcast(kind: &str, version: u32, data: ::serde_json::Value) -> Option<::serde_json::Value> {
                $upcast(kind, version, data)
            })?

            fn refused(refused: $crate::aggregate::Refused) -> $Name {
                $Name::Refused(refused)
            }
        }
    };
}

/// An enum of refusals: `"noun.reason" => Variant`; `quiet` ones leave no event.
macro_rules! refusals {
    ($(#[$meta:meta])* pub enum $Name:ident { $(
        $(#[$doc:meta])* $code:literal $($flag:ident)? => $Variant:ident $body:tt
    ),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $Name { $($(#[$doc])* $Variant $body),+ }

        impl $crate::aggregate::Codes for $Name {
            fn code(&self) -> &'static str {
                match self { $($Name::$Variant { .. } => $code),+ }
            }

            fn is_quiet(&self) -> bool {
                match self { $($Name::$Variant { .. } => refusals!(@quiet $($flag)?)),+ }
            }
        }
    };
    (@quiet) => { false };
    (@quiet quiet) => { true };
}

pub(crate) use {events, refusals, verbs};
