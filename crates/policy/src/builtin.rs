//! What is compiled in: the floor, which no file loosens, and the templates that people begin with.
use crate::bundle::{Bundle, Document};
use crate::layer::Layer;

const FLOOR: &str = include_str!("../templates/floor.cedar");
const PERMISSIVE: &str = include_str!("../templates/permissive.cedar");
const MODERATE: &str = include_str!("../templates/moderate.cedar");
const RESTRICTIVE: &str = include_str!("../templates/restrictive.cedar");

/// A layer `system` to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    Permissive,
    Moderate,
    Restrictive,
}

impl Template {
    pub const ALL: [Template; 3] = [Template::Permissive, Template::Moderate, Template::Restrictive];

    pub fn as_str(self) -> &'static str {
        match self {
            Template::Permissive => "permissive",
            Template::Moderate => "moderate",
            Template::Restrictive => "restrictive",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Template::Permissive => PERMISSIVE,
            Template::Moderate => MODERATE,
            Template::Restrictive => RESTRICTIVE,
        }
    }

    /// The bundle with nothing else in it.
    pub fn bundle(self) -> Bundle {
        Bundle::default().with(Layer::System, &format!("{}.cedar", self.as_str()), self.text())
    }
}

/// What holds where no policy was ever applied.
pub fn default_bundle() -> Bundle {
    Template::Moderate.bundle()
}

/// The document of the floor.
pub fn floor() -> Document {
    Document { name: "floor.cedar".to_string(), text: FLOOR.to_string() }
}
