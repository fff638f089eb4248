//! Rows 17 to 22: API keys.

use auth_ext_tests::{Ask, attempt, json, no, service};

use super::service::{ADA, Adopted, EVE, key};

const VERIFY: &str = "SELECT id FROM auth.verify_api_key($1)";

#[test]
fn row_17_a_created_key_has_the_services_length_prefix_and_id_and_its_sha256_is_stored() {
    let adopted = Adopted::new("row_17");
    let mut a = adopted.connect();
    let row = &a.rows(
        "SELECT id, key, fingerprint FROM auth.create_api_key($1, 'new')",
        &[&ADA],
    )[0];
    let [id, plain, fingerprint]: [String; 3] = std::array::from_fn(|n| row.get(n));
    assert_eq!((plain.len(), &plain[..3]), (67, "rfs"));
    assert_eq!((id.len(), &id[..4]), (30, "uak_"));
    let sql = "SELECT prefix = left($1, 8) AND key_fingerprint = $2 AND user_id = $3 AND is_active AND name = 'new'
                   AND encode(sha256(convert_to($1, 'UTF8')), 'hex') = $2
               FROM user_api_keys WHERE id = $4";
    assert!(a.one::<bool>(sql, &[&plain, &fingerprint, &ADA, &id]));
    assert_eq!(attempt(&mut a, VERIFY, &[&plain]), Ok(Some(id.clone())));
    // Instances of the service that are still to be replaced accept it, too.
    let hash: String = a.one("SELECT key_hash FROM user_api_keys WHERE id = $1", &[&id]);
    assert!(hash.starts_with("$2b$12$"), "{hash}");
    assert_eq!(
        service(&["matches"], &json!({"plain": plain, "hash": hash})),
        json!(true)
    );
    let sql = "SELECT auth.api_key_fingerprint('rfs' || repeat('a', 64))";
    let vector = "b97e9d3ee11b67f92db68feb32601dc605acaac0b35c5de04469d0edcd0da445";
    assert_eq!(a.one::<String>(sql, &[]), vector);
}

#[test]
fn row_18_a_verified_key_gives_its_row_and_its_last_use_is_set_unless_rolled_back() {
    let adopted = Adopted::new("row_18");
    let mut a = adopted.connect();
    let plain = key("lasting").plain;
    let used = "SELECT last_used_at IS NOT NULL AND abs(extract(epoch FROM last_used_at - (clock_timestamp() AT TIME ZONE 'UTC'))) < 30
                FROM user_api_keys WHERE id = 'uak_lasting'";
    a.run("BEGIN");
    assert!(attempt(&mut a, VERIFY, &[&plain]).is_ok());
    assert!(a.one::<bool>(used, &[]));
    a.run("ROLLBACK");
    assert!(!a.one::<bool>(used, &[]));
    let sql = "SELECT concat_ws(' ', id, user_id, session_version, fingerprint, expires_at AT TIME ZONE 'UTC') FROM auth.verify_api_key($1)";
    let row = format!(
        "uak_lasting {ADA} 0 {} 2999-12-31 23:59:59",
        key("lasting").sha256
    );
    assert_eq!(a.one::<String>(sql, &[&plain]), row);
    assert!(a.one::<bool>(used, &[]));
}

#[test]
fn row_19_another_tail_null_nothing_and_ended_keys_are_refused() {
    let adopted = Adopted::new("row_19");
    let mut a = adopted.connect();
    let plain = key("plain").plain;
    let tail = format!("{}{}", &plain[..8], "0".repeat(59));
    for (given, reason) in [
        (Some(tail.as_str()), "unknown_api_key"),
        (None, "unknown_api_key"),
        (Some(""), "unknown_api_key"),
        (Some(key("ended").plain.as_str()), "inactive_api_key"),
        (Some(key("expired").plain.as_str()), "expired_api_key"),
        (Some(key("of_inactive").plain.as_str()), "inactive_user"),
    ] {
        assert_eq!(attempt(&mut a, VERIFY, &[&given]), no(reason));
        let check = "SELECT reason FROM auth.check_api_key($1)";
        assert_eq!(a.one::<String>(check, &[&given]), reason);
    }
    let create = "SELECT id FROM auth.create_api_key($1, 'x')";
    assert_eq!(attempt(&mut a, create, &[&EVE]), no("inactive_user"));
}

#[test]
fn row_20_a_key_that_is_stored_only_as_bcrypt_passes_and_has_its_fingerprint_afterwards() {
    let adopted = Adopted::new("row_20");
    let mut a = adopted.connect();
    // By the service's cost and prefix, and by those of older rows.
    for name in ["plain", "old_prefix", "lasting"] {
        let (key, id) = (key(name), format!("uak_{name}"));
        let fingerprint = "SELECT key_fingerprint FROM user_api_keys WHERE id = $1";
        assert_eq!(a.one::<Option<String>>(fingerprint, &[&id]), None);
        for _ in 0..2 {
            assert_eq!(attempt(&mut a, VERIFY, &[&key.plain]), Ok(Some(id.clone())));
            assert_eq!(
                a.one::<Option<String>>(fingerprint, &[&id]),
                Some(key.sha256.clone())
            );
        }
    }
}

#[test]
fn row_21_the_deactivation_activation_and_deletion_of_a_key_are_told_by_its_sha256() {
    let adopted = Adopted::new("row_21");
    let mut a = adopted.connect();
    let key = key("plain");
    attempt(&mut a, VERIFY, &[&key.plain]).unwrap();
    let mut listener = adopted.listener();
    for (change, reason) in [
        (
            "UPDATE user_api_keys SET is_active = false WHERE id = 'uak_plain'",
            "deactivated",
        ),
        (
            "UPDATE user_api_keys SET is_active = true WHERE id = 'uak_plain'",
            "activated",
        ),
        (
            "DELETE FROM user_api_keys WHERE id = 'uak_plain'",
            "deleted",
        ),
    ] {
        a.run(change);
        let event = json!({"v": 1, "kind": "api_key", "fingerprint": key.sha256, "user_id": ADA, "reason": reason});
        assert_eq!(listener.events(), [event]);
    }
}

#[test]
fn row_22_a_malformed_stored_hash_is_no_match_and_no_crash() {
    let adopted = Adopted::new("row_22");
    let mut a = adopted.connect();
    let plain = key("plain").plain;
    for hash in [
        "",
        "x",
        "$2b$12$",
        "$2b$12$é",
        "$2b$99$0123456789012345678901abcdefghijklmnopqrstuvwxyzabcde",
    ] {
        let sql = "UPDATE user_api_keys SET key_hash = $1 WHERE id = 'uak_plain'";
        a.execute(sql, &[&hash]).unwrap();
        assert_eq!(
            attempt(&mut a, VERIFY, &[&plain]),
            no("unknown_api_key"),
            "{hash}"
        );
    }
}
