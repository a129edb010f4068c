//! The macros by which the manifest's sections are declared, each field once: from a declaration come the type, its
//! reader with the words that it knows, its JSON Schema, and plain serde for what is stored.

use super::fields::Fields;

/// What is read from a mapping.
pub(super) trait Section: Sized + 'static {
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
///         max_runs?: u32 [1..=1000],                                         a whole number within a range
///         exceptions*: Vec<Duration> = list(8, …),                           may be absent: then it is empty
///         max_turns~: u32 = whole(1..=1000),                                 read here, kept elsewhere by a check
///         max_size("maxSize")?: Bytes = …,                                   its word, where that is not its name
///     } then check::jitter_fits(cron, jitter)                                what must hold between fields
/// );
/// ```
/// A check gets the open [`Fields`] and what was read of each field that it names, `None` where it is absent or wrong.
/// An `enum … by "type" of a "thing"` has such a list of fields for each of its variants, with the word that `type` has
/// for it. Attributes of a field are the JSON Schema's.
macro_rules! section {
    (
        $(#[$meta:meta])* struct $name:ident $body:tt $(then $($($check:ident)::+($($field:ident),*)),+)?
    ) => {
        section!(@struct [$(#[$meta])*] $name $body);

        impl $crate::manifest::section::Section for $name {
            fn read(mut fields: $crate::manifest::fields::Fields<'_, '_>) -> Option<Self> {
                section!(@read fields [Self] $body [$($($($check)::+(&mut fields $(, &mut $field)*);)+)?])
            }
        }
    };
    ($(#[$meta:meta])* enum $name:ident by $tag:literal of a $noun:literal {
        $($(#[$variant_meta:meta])* $variant:ident as $word:literal $body:tt,)+
    }) => {
        section!(@enum [$(#[$meta])*] $name $tag $($(#[$variant_meta])* $variant $word $body)+);

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
                        let reason = concat!("there is no such ", $noun);
                        fields.refuse($tag, $crate::manifest::values::unknown_word(reason, other, &[$($word),+]));
                        None
                    }
                }
            }
        }
    };

    (@struct [$($meta:tt)*] $name:ident {
        $($(#[$field_meta:meta])* $field:ident $(($word:literal))?
            $(: $one:ty = $one_rule:expr,)?
            $(?: $maybe:ty $([$least:literal..=$most:literal])? $(= $maybe_rule:expr)?,)?
            $(*: $many:ty = $many_rule:expr,)?
            $(~: $moved:ty = $moved_rule:expr,)?)+
    }) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {$(
            $(#[$field_meta])*
            $(#[serde(rename = $word)])?
            $(pub $field: $one,)?
            $($(#[schemars(range(min = $least, max = $most))])?
            #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$maybe>,)?
            $(#[serde(default, skip_serializing_if = "crate::manifest::section::is_empty")] pub $field: $many,)?
            $(#[serde(skip)] pub(super) $field: Option<$moved>,)?
        )+}
    };
    (@enum [$($meta:tt)*] $name:ident $tag:literal $($(#[$variant_meta:meta])* $variant:ident $word:literal {
        $($(#[$field_meta:meta])* $field:ident
            $(: $one:ty = $one_rule:expr,)?
            $(?: $maybe:ty $([$least:literal..=$most:literal])? $(= $maybe_rule:expr)?,)?)+
    })+) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(tag = $tag, deny_unknown_fields)]
        pub enum $name {$(
            $(#[$variant_meta])*
            #[serde(rename = $word)]
            $variant {$(
                $(#[$field_meta])*
                $($field: $one,)?
                $($(#[schemars(range(min = $least, max = $most))])?
                #[serde(skip_serializing_if = "Option::is_none")] $field: Option<$maybe>,)?
            )+},
        )+}
    };
    (@read $fields:ident [$($made:tt)+] {
        $($(#[$field_meta:meta])* $field:ident $(($word:literal))?
            $(: $one:ty = $one_rule:expr,)?
            $(?: $maybe:ty $([$least:literal..=$most:literal])? $(= $maybe_rule:expr)?,)?
            $(*: $many:ty = $many_rule:expr,)?
            $(~: $moved:ty = $moved_rule:expr,)?)+
    } [$($check:tt)*]) => {{
        $(
            let word = section!(@word $field $($word)?);
            $(let mut $field: Option<$one> = $fields.need(word, $one_rule);)?
            $(let mut $field: Option<$maybe> =
                $fields.get(word, $($maybe_rule)? $($crate::manifest::values::whole($least..=$most))?);)?
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
    (@word $field:ident) => { stringify!($field) };
    (@word $field:ident $word:literal) => { $word };
}
pub(super) use section;

/// A list or map that says nothing is not written.
pub(super) fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Declares an enum of the manifest's words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[derive(strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] #[strum(serialize = $word)] $variant,)+
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
