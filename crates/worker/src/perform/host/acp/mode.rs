//! In which mode an agent says that it is, and which ones it names: by `modes`, by the configuration option that is one, or both.
//! Must never: take one for named that is not.
use serde_json::Value;
use tenure_core::capability::clip;

/// Modes that one session says it is in, of which so many are kept.
const SAID_MAX: usize = 16;

/// The modes that an agent has said it is in since one was set, in their order.
#[derive(Debug, Default)]
pub(super) struct SaidModes(Vec<String>);

impl SaidModes {
    /// It was set and agreed to: what was said before that counts no more.
    pub(super) fn settle(&mut self, mode: &str) {
        match self.0.iter().rposition(|said| said == mode) {
            Some(at) => drop(self.0.drain(..at)),
            None => self.0 = vec![mode.to_owned()],
        }
    }

    pub(super) fn push(&mut self, mode: String) {
        if self.0.len() >= SAID_MAX {
            self.0.pop();
        }
        self.0.push(mode);
    }

    pub(super) fn last(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// Another one than this, also where it came back since.
    pub(super) fn other_than(&self, mode: &str) -> Option<&str> {
        self.0.iter().map(String::as_str).find(|said| *said != mode)
    }
}

/// What an answer to `session/new` or `session/load` says of modes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Modes {
    pub(super) current: Option<String>,
    pub(super) named: Vec<String>,
    /// The configuration option that sets it, and whose answer says what was set.
    pub(super) option: Option<String>,
}

impl Modes {
    pub(super) fn of(answer: &Value) -> Modes {
        let text = |value: &Value| value.as_str().map(clip);
        if let Some(option) = option(&answer["configOptions"]) {
            let choices = option["options"].as_array().into_iter().flatten();
            // They may stand in groups.
            let flat =
                choices.flat_map(|one| one["options"].as_array().map_or(std::slice::from_ref(one), Vec::as_slice));
            let named = flat.filter_map(|one| text(&one["value"])).collect();
            return Modes { current: text(&option["currentValue"]), named, option: text(&option["id"]) };
        }
        let modes = &answer["modes"];
        let named = modes["availableModes"].as_array().into_iter().flatten();
        let named = named.filter_map(|one| text(&one["id"])).collect();
        Modes { current: text(&modes["currentModeId"]), named, option: None }
    }

    pub(super) fn has(&self, mode: &str) -> bool {
        self.named.iter().any(|named| named == mode)
    }
}

/// The mode that a `session/update` says the agent is in now.
pub(super) fn said(update: &Value) -> Option<String> {
    let mode = match update["sessionUpdate"].as_str()? {
        "current_mode_update" => &update["currentModeId"],
        "config_option_update" => &option(&update["configOptions"])?["currentValue"],
        _ => return None,
    };
    mode.as_str().map(clip)
}

fn option(options: &Value) -> Option<&Value> {
    options.as_array()?.iter().find(|option| option["category"] == "mode")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mode_that_was_left_for_a_moment_was_left() {
        let mut said = SaidModes::default();
        for mode in ["auto", "ask"] {
            said.push(mode.to_owned());
        }
        said.settle("ask");
        assert_eq!((said.last(), said.other_than("ask")), (Some("ask"), None));
        said.push("auto".to_owned());
        (0..100).for_each(|_| said.push("ask".to_owned()));
        assert_eq!((said.last(), said.other_than("ask")), (Some("ask"), Some("auto")));
    }

    #[test]
    fn modes_are_read_where_an_agent_says_them_and_nowhere_else() {
        let plain = json!({"modes": {"currentModeId": "auto", "availableModes": [{"id": "auto"}, {"id": "default"}]}});
        let modes = Modes::of(&plain);
        assert_eq!((modes.current.as_deref(), modes.option.as_deref()), (Some("auto"), None));
        assert!(modes.has("default") && !modes.has("plan"));
        let model = json!({"id": "model", "category": "model", "currentValue": "m", "options": [{"value": "m"}]});
        assert_eq!(Modes::of(&json!({"configOptions": [model]})), Modes::default());
        let groups = json!([{"group": "g", "options": [{"value": "ask"}]}, {"value": "auto"}]);
        let option = json!({"id": "preset", "category": "mode", "currentValue": "auto", "options": groups});
        let modes = Modes::of(&json!({"configOptions": [model, option]}));
        assert_eq!(modes.option.as_deref(), Some("preset"));
        assert!(modes.has("ask") && modes.has("auto") && !modes.has("m"));
        let update = json!({"sessionUpdate": "config_option_update", "configOptions": [option]});
        assert_eq!(said(&update).as_deref(), Some("auto"));
        assert_eq!(said(&json!({"sessionUpdate": "agent_message_chunk", "currentModeId": "x"})), None);
    }
}
