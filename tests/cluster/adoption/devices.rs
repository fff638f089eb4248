//! Section 2: a device's canonical form is what Python's `json.dumps(device, sort_keys=True)` writes.

use auth_ext_tests::{Ask, Value, json, service};

use super::service::{ADA, Adopted, pyjwt};

const HASH: &str = "SELECT auth.decode_jwt(auth.issue_jwt($1, 0, device => $2::text::jsonb))->'payload'->>'device_hash'";

#[test]
fn random_devices_have_the_hash_that_python_computes() {
    let adopted = Adopted::new("devices");
    let mut a = adopted.connect();
    for seed in ["1", "2", "3"] {
        let made = service(&["devices", "200", seed], &Value::Null);
        for device in made.as_array().unwrap() {
            let text = device["device"].as_str().unwrap();
            assert_eq!(
                a.one::<String>(HASH, &[&ADA, &text]),
                device["sha256"],
                "{text}"
            );
        }
    }
}

#[test]
fn a_token_that_the_service_bound_to_a_device_is_accepted_from_it_alone() {
    let adopted = Adopted::new("bound");
    let mut a = adopted.connect();
    let made = service(&["devices", "10", "4"], &Value::Null);
    let check = "SELECT coalesce(reason, 'valid') FROM auth.check_jwt($1, $2::text::jsonb)";
    for device in made.as_array().unwrap() {
        let token = pyjwt(&mut a, ADA, &json!({"device_hash": device["sha256"]}));
        let text = device["device"].as_str().unwrap();
        assert_eq!(a.one::<String>(check, &[&token, &text]), "valid", "{text}");
        assert_eq!(
            a.one::<String>(check, &[&token, &r#"{"a":"b"}"#]),
            "device_mismatch"
        );
    }
}
