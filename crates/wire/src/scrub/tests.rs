use super::*;
use data_encoding::{BASE64, BASE64URL, HEXLOWER};
use proptest::prelude::*;

const NAME: &str = "github";
const VALUE: &str = "tok/en+\"1234é&5678";

fn scrubber() -> Scrubber {
    Scrubber::of([(NAME, VALUE.as_bytes())])
}

/// How others write a value, made by other means than the scrubber's.
fn spelled(value: &str) -> Vec<String> {
    let percent: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let query: String = value
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let escaped = serde_json::to_string(value).unwrap();
    let inner = escaped.trim_matches('"').to_string();
    // As Go writes JSON.
    let signs = inner.replace('&', "\\u0026");
    let mut all = vec![value.to_string(), percent, query, signs, HEXLOWER.encode(value.as_bytes()), inner.clone()];
    all.push(serde_json::to_string(&inner).unwrap().trim_matches('"').to_string());
    for before in ["", "u", "us", "user:", "a:longer one:"] {
        for after in ["", "x", "yz"] {
            let around = format!("{before}{value}{after}");
            all.extend([BASE64.encode(around.as_bytes()), BASE64URL.encode(around.as_bytes())]);
        }
    }
    all
}

#[test]
fn a_value_is_found_in_each_spelling_and_its_name_stands_there() {
    let scrubber = scrubber();
    for form in spelled(VALUE) {
        let text = format!("before {form} after");
        let clean = scrubber.text(&text);
        assert!(clean.contains("[secret github]"), "{form}");
        assert!(!scrubber.finds(clean.as_bytes()), "{clean}");
        assert!(clean.starts_with("before ") && clean.ends_with(" after"), "{clean}");
    }
    assert_eq!(scrubber.text("tok/en+"), "tok/en+", "the control: a part of it is none");
}

#[test]
fn a_value_over_two_chunks_is_found_wherever_it_is_cut() {
    let scrubber = scrubber();
    for form in spelled(VALUE) {
        let text = format!("<{form}>");
        for cut in 0..=text.len() {
            let mut stream = scrubber.stream();
            let mut clean = stream.push(&text.as_bytes()[..cut]);
            clean.extend(stream.push(&text.as_bytes()[cut..]));
            clean.extend(stream.end());
            assert_eq!(clean, scrubber.bytes(text.as_bytes()).as_ref(), "{form} cut at {cut}");
            assert!(!scrubber.finds(&clean));
        }
    }
}

#[test]
fn what_is_no_beginning_of_a_value_is_not_held_back() {
    let mut stream = scrubber().stream();
    assert_eq!(stream.push(b"hello "), b"hello ");
    assert_eq!(stream.push(b"a tok"), b"a ", "the beginning of the value waits");
    assert_eq!(stream.push(b"ens"), b"tokens");
    assert_eq!(stream.end(), b"");
}

#[test]
fn json_stays_json_whatever_a_value_is() {
    let scrubber = Scrubber::of([("digits", b"1234567890".as_slice()), ("odd", br#"a","b":"c"#.as_slice())]);
    let payload = br#"{"n":1234567890,"1234567890":["a","b\":\"c"],"t":"a\",\"b\":\"c"}"#.to_vec();
    let clean = scrubber.payload(payload);
    let value: Value = serde_json::from_slice(&clean).unwrap();
    assert_eq!(value["n"], "[secret digits]");
    assert_eq!(value["t"], "[secret odd]");
    assert!(value.get("[secret digits]").is_some());
}

#[test]
fn a_long_value_is_found_whole_in_parts_and_line_by_line() {
    let lines: Vec<String> = (0..40).map(|line| HEXLOWER.encode(&[line; 24])).collect();
    let value = format!("-----BEGIN KEY-----\n{}\n-----END KEY-----", lines.join("\n"));
    let scrubber = Scrubber::of([("pem", value.as_bytes())]);
    assert_eq!(scrubber.text(&format!("<{value}>")), "<[secret pem]>");
    let numbered: String = lines.iter().map(|line| format!("1 | {line}\n")).collect();
    assert_eq!(scrubber.text(&numbered), "1 | [secret pem]\n".repeat(40));
    assert_eq!(scrubber.text("-----BEGIN KEY-----"), "-----BEGIN KEY-----");
}

proptest! {
    /// In any value, any surroundings, any chunks.
    #[test]
    fn no_value_passes_a_stream(
        value in "[ -~äß]{8,40}",
        before in "[a-z{}\"%+]{0,20}",
        after in "[a-z{}\"%=]{0,20}",
        which in 0usize..36,
        cuts in prop::collection::vec(0usize..400, 0..6),
    ) {
        let scrubber = Scrubber::of([("s", value.as_bytes())]);
        let all = spelled(&value);
        let text = format!("{before}{}{after}", all[which % all.len()]);
        let mut stream = scrubber.stream();
        let mut clean = Vec::new();
        let mut rest = text.as_bytes();
        for cut in cuts {
            let (chunk, left) = rest.split_at(cut.min(rest.len()));
            clean.extend(stream.push(chunk));
            rest = left;
        }
        clean.extend(stream.push(rest));
        clean.extend(stream.end());
        prop_assert!(!scrubber.finds(&clean), "{}", String::from_utf8_lossy(&clean));
        prop_assert!(String::from_utf8_lossy(&clean).contains("[secret s]"));
    }
}
