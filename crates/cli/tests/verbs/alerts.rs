use serde_json::json;

use super::staff::staff;

#[test]
fn an_alert_is_shown_until_somebody_has_seen_to_it() {
    let house = staff();
    let started = house.tenure(&["execute", "lead", "--input", "go", "-o", "json"]).ok().json();
    house.wait(started["id"].as_str().unwrap());
    let open = house.tenure(&["alerts", "-o", "json"]).ok().json();
    let alert = open[0].clone();
    assert_eq!((&alert["severity"], &alert["agent_name"]), (&json!("critical"), &json!("lead")), "{open}");
    assert_eq!(alert["message"], "Two invoices have the same number");
    let id = alert["id"].as_str().unwrap();
    assert_eq!(house.tenure(&["status", "-o", "json"]).ok().json()["alerts"]["critical"], 1);
    assert!(house.tenure(&["alerts"]).ok().stdout.contains("Two invoices"));
    assert_eq!(house.tenure(&["alerts", "--severity", "info", "-o", "json"]).ok().json(), json!([]));
    assert_eq!(house.tenure(&["alerts", "--severity", "loud"]).code, 2, "no such severity");
    assert_eq!(house.tenure(&["alerts", "ack", "alr_00000000000000000000000000"]).code, 4);
    house.tenure(&["alerts", "ack", id, "--note", "paid once"]).ok();
    house.tenure(&["alerts", "ack", id]).ok();
    assert_eq!(house.tenure(&["alerts", "-o", "json"]).ok().json(), json!([]));
    let all = house.tenure(&["alerts", "list", "--all", "-o", "json"]).ok().json();
    assert!(all[0]["detail"].as_str().unwrap().ends_with(": paid once"), "{all}");
    let briefing = house.tenure(&["agent", "briefing", "lead", "--since", "1h"]).ok().stdout;
    assert!(briefing.contains("was acknowledged by"), "{briefing}");
}
