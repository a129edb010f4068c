//! The network, as the rules of the agent's manifest let it be reached. Hosts are judged by the worker, never here.
use super::{Attributes, Capability, Effects, arguments, judged_path};
use crate::network::host::Host;
use crate::network::url::{URL_BYTES_MAX, Url};
use serde_json::{Value, json};

/// Most bytes of a request's body, and most headers that one may name.
const BODY_BYTES_MAX: u32 = 1 << 20;
const HEADERS_MAX: u32 = 64;
const HEADER_NAME_LENGTH_MAX: u32 = 256;
/// Most bytes of a response that `http_request` reads, and of a file that `download` fetches.
const READ_BYTES_MAX: u32 = 16 << 20;
const FILE_BYTES_MAX: u64 = 1 << 30;

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "network.http_request",
        version: 1,
        brief: "Make an HTTP request; gives status and body.",
        use_when: "A web page or an API's answer is needed, or something is sent to one.",
        avoid_when: "The answer is to be a file: network.download.",
        effects: Effects::Irreversible,
        idempotent: false,
        usual: &["url", "method", "body"],
        input: || {
            arguments(
                &["url"],
                json!({
                    "url": url(),
                    "method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]},
                    "headers": headers(),
                    "body": {"type": "string", "maxLength": BODY_BYTES_MAX},
                    "timeout_ms": timeout(300_000),
                    "max_bytes": {"type": "integer", "minimum": 1, "maximum": READ_BYTES_MAX}
                }),
            )
        },
        output: || json!({"type": "object", "properties": {"status": {"type": "integer"}, "url": {"type": "string"}, "redirects": {"type": "integer"}, "redirect": {"type": "string"}, "location": {"type": "string"}, "headers": {"type": "object"}, "body": {"type": "string"}, "encoding": {"enum": ["utf-8", "base64"]}, "size": {"type": "integer"}, "truncated": {"type": "boolean"}}}),
        attributes: |arguments| Attributes {
            bytes: arguments.get("body").and_then(Value::as_str).map(|body| body.len() as u64),
            ..at_url(arguments)
        },
        perform: None,
    },
    Capability {
        name: "network.credentialed_request",
        version: 1,
        brief: "Make an HTTPS request with a secret that you may use and never see.",
        use_when: "An API wants a key or password that a person bound to you: secrets.list names them.",
        avoid_when: "No secret is wanted: network.http_request.",
        effects: Effects::Irreversible,
        idempotent: false,
        usual: &["url", "method", "body", "secret"],
        input: || {
            arguments(
                &["url", "secret"],
                json!({
                    "url": url(),
                    "method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]},
                    "headers": headers(),
                    "body": {"type": "string", "maxLength": BODY_BYTES_MAX},
                    "secret": {"type": "string", "minLength": 1, "maxLength": 63, "description": "Its name, never its value"},
                    "placement": placement(),
                    "timeout_ms": timeout(300_000),
                    "max_bytes": {"type": "integer", "minimum": 1, "maximum": READ_BYTES_MAX}
                }),
            )
        },
        output: || json!({"type": "object", "properties": {"status": {"type": "integer"}, "url": {"type": "string"}, "redirects": {"type": "integer"}, "redirect": {"type": "string"}, "location": {"type": "string"}, "headers": {"type": "object"}, "body": {"type": "string"}, "encoding": {"enum": ["utf-8", "base64"]}, "size": {"type": "integer"}, "truncated": {"type": "boolean"}}}),
        attributes: |arguments| Attributes {
            key: arguments.get("secret").and_then(Value::as_str).map(str::to_string),
            bytes: arguments.get("body").and_then(Value::as_str).map(|body| body.len() as u64),
            ..at_url(arguments)
        },
        perform: None,
    },
    Capability {
        name: "network.download",
        version: 1,
        brief: "Fetch a URL into a file.",
        use_when: "A file of the web is needed in the work folder.",
        avoid_when: "Only the text of a small answer is needed: network.http_request.",
        effects: Effects::Reversible,
        idempotent: true,
        usual: &["url", "path", "sha256"],
        input: || {
            arguments(
                &["url", "path"],
                json!({
                    "url": url(),
                    "path": {"type": "string", "minLength": 1, "maxLength": 4096},
                    "sha256": {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
                    "headers": headers(),
                    "timeout_ms": timeout(3_600_000),
                    "max_bytes": {"type": "integer", "minimum": 1, "maximum": FILE_BYTES_MAX}
                }),
            )
        },
        output: || json!({"type": "object", "properties": {"status": {"type": "integer"}, "url": {"type": "string"}, "redirects": {"type": "integer"}, "size": {"type": "integer"}, "sha256": {"type": "string"}}}),
        attributes: |arguments| Attributes { path: judged_path(arguments, "path"), ..at_url(arguments) },
        perform: None,
    },
    Capability {
        name: "network.dns_lookup",
        version: 1,
        brief: "Look up the addresses of a host name.",
        use_when: "A name's addresses are asked for.",
        avoid_when: "The host is to be reached: network.http_request, network.port_check.",
        effects: Effects::None,
        idempotent: true,
        usual: &["name"],
        input: || arguments(&["name"], json!({"name": host()})),
        output: || json!({"type": "object", "properties": {"name": {"type": "string"}, "addresses": {"type": "array", "items": {"type": "object", "properties": {"address": {"type": "string"}, "refused": {"type": "string"}}}}}}),
        attributes: |arguments| at_host(arguments.get("name"), None),
        perform: None,
    },
    Capability {
        name: "network.port_check",
        version: 1,
        brief: "Try whether a TCP port of a host is open.",
        use_when: "Whether something listens there is asked.",
        avoid_when: "An HTTP answer is needed: network.http_request.",
        effects: Effects::None,
        idempotent: true,
        usual: &["host", "port"],
        input: || {
            arguments(
                &["host", "port"],
                json!({"host": host(), "port": {"type": "integer", "minimum": 1, "maximum": 65535}, "timeout_ms": timeout(10_000)}),
            )
        },
        output: || json!({"type": "object", "properties": {"open": {"type": "boolean"}, "address": {"type": "string"}, "why": {"type": "string"}}}),
        attributes: |arguments| at_host(arguments.get("host"), arguments.get("port").and_then(Value::as_u64)),
        perform: None,
    },
];

fn url() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": URL_BYTES_MAX})
}

/// Where the secret's value goes: a header, or the password of a basic authorization. A URL is written down everywhere, so that
/// none may hold one.
fn placement() -> Value {
    json!({
        "description": "Default: the header authorization as `Bearer {secret}`",
        "oneOf": [
            {
                "type": "object",
                "properties": {
                    "header": {"type": "string", "minLength": 1, "maxLength": HEADER_NAME_LENGTH_MAX},
                    "template": {"type": "string", "maxLength": 256, "description": "With {secret} once, e.g. `Bearer {secret}`"}
                },
                "required": ["header"],
                "additionalProperties": false
            },
            {
                "type": "object",
                "properties": {"basic_user": {"type": "string", "maxLength": 256}},
                "required": ["basic_user"],
                "additionalProperties": false
            }
        ]
    })
}

fn host() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 255})
}

fn headers() -> Value {
    json!({
        "type": "object",
        "propertyNames": {"maxLength": HEADER_NAME_LENGTH_MAX},
        "additionalProperties": {"type": "string", "maxLength": 4096},
        "maxProperties": HEADERS_MAX
    })
}

fn timeout(max_ms: u32) -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": max_ms})
}

/// A URL that cannot be read has no host: it is refused before anything is reached.
fn at_url(arguments: &Value) -> Attributes {
    let url = arguments.get("url").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
    let Some(url) = url else { return Attributes::default() };
    Attributes { host: Some(url.host.to_string()), port: Some(url.port), ..Attributes::default() }
}

fn at_host(host: Option<&Value>, port: Option<u64>) -> Attributes {
    let host = host.and_then(Value::as_str).and_then(|host| Host::parse(host).ok());
    let port = port.and_then(|port| u16::try_from(port).ok());
    Attributes { host: host.map(|host| host.to_string()), port, ..Attributes::default() }
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use serde_json::json;

    #[test]
    fn a_judge_sees_the_host_that_the_worker_will_reach() {
        let host = |name: &str, arguments| {
            let seen = find(name).unwrap().attributes(&arguments);
            seen.host.map(|host| (host, seen.port))
        };
        let request = |url: &str| host("network.http_request", json!({"url": url}));
        assert_eq!(request("https://API.a.example/a?b"), Some(("api.a.example".into(), Some(443))));
        assert_eq!(request(&format!("http://{}.:8080", "api.a.example")), Some(("api.a.example".into(), Some(8080))));
        assert_eq!(request("http://good.example\\@evil.example/"), None);
        assert_eq!(
            host("network.port_check", json!({"host": "::ffff:10.0.0.5", "port": 22})),
            Some(("10.0.0.5".into(), Some(22)))
        );
        assert_eq!(host("network.dns_lookup", json!({"name": "Example.com."})), Some(("example.com".into(), None)));
        let seen = find("network.http_request").unwrap().attributes(&json!({"url": "https://API.a.example/a?b"}));
        assert_eq!(super::super::Shown::of(&seen).host.as_deref(), Some("api.a.example"));
    }

    #[test]
    fn names_of_headers_and_variables_are_bounded_as_their_values_are() {
        let fits = |name: &str, arguments| jsonschema::is_valid(&find(name).unwrap().input(), &arguments);
        for (length, expected) in [(256, true), (257, false)] {
            let named = json!({"x".repeat(length): ""});
            assert_eq!(fits("process.run", json!({"command": "a", "env": named})), expected);
            assert_eq!(fits("network.http_request", json!({"url": "http://a", "headers": named})), expected);
            let download = json!({"url": "http://a", "path": "a", "headers": named});
            assert_eq!(fits("network.download", download), expected);
        }
    }
}
