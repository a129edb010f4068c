//! The macros by which the manifest's sections are declared, each field once: from a declaration come the type, its
//! reader with the words that it knows, its JSON Schema, and plain serde for what is stored.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::fields::{Fields, Rule};
use crate::fault::{Code, Fault, nearest};

/// What is read from a mapping.
pub(super) trait Section: JsonSchema + Sized + 'static {
    /// Reads all fields, also after a wrong one, and refuses those that are not declared.
    fn read(fields: Fields<'_, '_>) -> Option<Self>;
}

/// Declares a section:
/// ```text
/// section!(
///     /// What the JSON Schema says of it.
///     struct Schedule {
///         /// And of the field. After `=` stands the rule by which its value is read.
///         cron: String = cron,                                               must be given
///         jitter?: Duration = Duration::between(SECOND, DAY),                may be absent: an Option
///         exceptions*: Vec<Duration> = list(8, …),                           may be absent: then it is empty
///         max_turns~: u32 = whole(1..=1000),                                 read here, moved elsewhere by a check
///         max_size("maxSize")?: Bytes = …,                                   its word, where that is not its name
///     } then check::jitter_fits(cron, jitter)                                what must hold between fields
/// );
/// ```
/// A check gets the open [`Fields`] and what was read of each field that it names, `None` where it is absent or wrong.
/// An `enum … by "type"` has such a list of fields for each of its variants, with the word that `type` has for it.
macro_rules! section {
    (
        $(#[doc = $doc:literal])* $(#[derive($derived:ident)])? struct $name:ident $body:tt
        $(then $($($check:ident)::+($($field:ident),*)),+)?
    ) => {
        section!(@struct [$(#[doc = $doc])* $(#[derive($derived)])?] $name $body);

        impl $crate::manifest::section::Section for $name {
            fn read(mut fields: $crate::manifest::fields::Fields<'_, '_>) -> Option<Self> {
                section!(@read fields [Self] $body [$($($($check)::+(&mut fields $(, &mut $field)*);)+)?])
            }
        }

        section!(@schema $name [$($doc)*] |generator| section!(@properties generator $body).finish());
    };
    (
        $(#[doc = $doc:literal])* enum $name:ident by $tag:literal {
            $($(#[doc = $variant_doc:literal])* $variant:ident as $word:literal $body:tt,)+
        }
    ) => {
        section!(@enum [$(#[doc = $doc])*] $name $tag $($(#[doc = $variant_doc])* $variant $word $body)+);

        impl $name {
            /// The word under `type`.
            pub fn as_str(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $word,)+
                }
            }
        }

        impl $crate::manifest::section::Section for $name {
            fn read(mut fields: $crate::manifest::fields::Fields<'_, '_>) -> Option<Self> {
                match fields.need($tag, $crate::manifest::values::text)?.as_str() {
                    $($word => section!(@read fields [Self::$variant] $body []),)+
                    other => {
                        let fault = $crate::manifest::section::unknown_variant(other, &[$($word),+]);
                        fields.refuse($tag, fault);
                        None
                    }
                }
            }
        }

        section!(@schema $name [$($doc)*] |generator| {
            let variants = [$(
                section!(@properties generator $body).tagged($tag, $word, concat!($($variant_doc, "\n"),*)),
            )+];
            schemars::json_schema!({ "oneOf": variants })
        });
    };

    (@struct [$($meta:tt)*] $name:ident {
        $($(#[doc = $doc:literal])* $field:ident $(($word:literal))?
            $(: $one:ty = $one_rule:expr,)? $(?: $maybe:ty = $maybe_rule:expr,)?
            $(*: $many:ty = $many_rule:expr,)? $(~: $moved:ty = $moved_rule:expr,)?)+
    }) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {$(
            $(#[doc = $doc])*
            $(#[serde(rename = $word)])?
            $(pub $field: $one,)?
            $(#[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$maybe>,)?
            $(#[serde(default, skip_serializing_if = "crate::manifest::section::is_empty")] pub $field: $many,)?
            $(#[serde(skip)] pub(super) $field: Option<$moved>,)?
        )+}
    };
    (@enum [$($meta:tt)*] $name:ident $tag:literal $($(#[doc = $variant_doc:literal])* $variant:ident $word:literal {
        $($(#[doc = $doc:literal])* $field:ident
            $(: $one:ty = $one_rule:expr,)? $(?: $maybe:ty = $maybe_rule:expr,)?)+
    })+) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = $tag, deny_unknown_fields)]
        pub enum $name {$(
            $(#[doc = $variant_doc])*
            #[serde(rename = $word)]
            $variant {$(
                $(#[doc = $doc])*
                $($field: $one,)?
                $(#[serde(skip_serializing_if = "Option::is_none")] $field: Option<$maybe>,)?
            )+},
        )+}
    };

    (@read $fields:ident [$($made:tt)+] {
        $($(#[doc = $doc:literal])* $field:ident $(($word:literal))?
            $(: $one:ty = $one_rule:expr,)? $(?: $maybe:ty = $maybe_rule:expr,)?
            $(*: $many:ty = $many_rule:expr,)? $(~: $moved:ty = $moved_rule:expr,)?)+
    } [$($check:tt)*]) => {{
        $(
            let word = section!(@word $field $($word)?);
            $(let mut $field: Option<$one> = $fields.need(word, $one_rule);)?
            $(let mut $field: Option<$maybe> = $fields.get(word, $maybe_rule);)?
            $(let mut $field: Option<$many> = $fields.get(word, $many_rule);)?
            $(let mut $field: Option<$moved> = $fields.get(word, $moved_rule);)?
        )+
        $($check)*
        $fields.close();
        Some($($made)+ {$(
            $field: section!(@taken $field $(: $one)? $(?: $maybe)? $(*: $many)? $(~: $moved)?),
        )+})
    }};
    (@taken $read:ident : $one:ty) => { $read.take()? };
    (@taken $read:ident ?: $maybe:ty) => { $read.take() };
    (@taken $read:ident *: $many:ty) => { $read.take().unwrap_or_default() };
    (@taken $read:ident ~: $moved:ty) => { $read.take() };

    (@schema $name:ident [$($doc:literal)*] |$generator:ident| $schema:expr) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema($generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::manifest::section::described($schema, concat!($($doc, "\n"),*))
            }
        }
    };
    (@properties $generator:ident {
        $($(#[doc = $doc:literal])* $field:ident $(($word:literal))?
            $(: $one:ty = $one_rule:expr,)? $(?: $maybe:ty = $maybe_rule:expr,)?
            $(*: $many:ty = $many_rule:expr,)? $(~: $moved:ty = $moved_rule:expr,)?)+
    }) => {{
        let mut properties = $crate::manifest::section::Properties::default();
        $(
            let name = (section!(@word $field $($word)?), concat!($($doc, "\n"),*));
            $(properties.add::<$one>($generator, name, true, $one_rule);)?
            $(properties.add::<$maybe>($generator, name, false, $maybe_rule);)?
            $(properties.add::<$many>($generator, name, false, $many_rule);)?
            // What moves is no part of the canonical form.
            $(let _: (_, Option<$moved>) = (name, None);)?
        )+
        properties
    }};
    (@word $field:ident) => { stringify!($field) };
    (@word $field:ident $word:literal) => { $word };
}
pub(super) use section;

/// Declares an enum of the manifest's words.
macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident {
        $($(#[doc = $variant_doc:literal])* $variant:ident = $word:literal),+ $(,)?
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[derive(strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
        pub enum $name {
            $($(#[doc = $variant_doc])* #[serde(rename = $word)] #[strum(serialize = $word)] $variant,)+
        }

        impl $name {
            /// The word that a manifest has for it.
            pub fn as_str(self) -> &'static str {
                self.into()
            }
        }
    };
}
pub(super) use words;

/// A list or map that says nothing is not written.
pub(super) fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(super) fn unknown_variant(given: &str, words: &[&str]) -> Fault {
    let hint = match nearest(given, words.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("one of {} is wanted", words.join(", ")),
    };
    Fault::new(Code::UnknownWord, "there is no such validator").hint(hint)
}

/// The JSON Schema of a mapping's fields, as it grows.
#[derive(Default)]
pub(super) struct Properties {
    schemas: serde_json::Map<String, Value>,
    required: Vec<&'static str>,
}

impl Properties {
    pub(super) fn add<T: 'static>(
        &mut self,
        generator: &mut SchemaGenerator,
        (word, doc): (&'static str, &str),
        required: bool,
        rule: impl Into<Rule<T>>,
    ) {
        let schema = described(rule.into().schema(generator), doc);
        self.schemas.insert(word.to_owned(), schema.into());
        self.required.extend(required.then_some(word));
    }

    pub(super) fn finish(self) -> Schema {
        let mut schema = json_schema!({ "type": "object", "properties": self.schemas, "additionalProperties": false });
        if !self.required.is_empty() {
            schema.insert("required".to_owned(), self.required.into());
        }
        schema
    }

    /// The schema of one variant, which `word` under `tag` tells from the others.
    pub(super) fn tagged(mut self, tag: &'static str, word: &str, doc: &str) -> Schema {
        self.schemas.insert(tag.to_owned(), serde_json::json!({ "type": "string", "const": word }));
        self.required.insert(0, tag);
        described(self.finish(), doc)
    }
}

pub(super) fn described(mut schema: Schema, doc: &str) -> Schema {
    let lines: Vec<&str> = doc.lines().map(str::trim).collect();
    if !lines.is_empty() {
        schema.insert("description".to_owned(), lines.join("\n").into());
    }
    schema
}
