//! The functions that are called, with what, and what of it is secret.

/// What is called: a name, and its query, whose `{name}` is a value that was put in or came out before.
/// What comes out is kept under the name. Refusals are as welcome as answers.
pub(super) const CALLS: &[(&str, &str)] = &[
    (
        "created",
        "auth.create_signing_key(alg => 'HS512', kid => 'created')",
    ),
    (
        "created_ec",
        "auth.create_signing_key(alg => 'ES384', kid => 'created_ec')",
    ),
    ("rotated", "auth.rotate_signing_key()"),
    (
        "imported",
        "auth.import_signing_key({hmac}, 'HS256', kid => 'imported')",
    ),
    (
        "taken",
        "auth.import_signing_key({hmac}, 'HS256', kid => 'imported')",
    ),
    (
        "weak",
        "auth.import_signing_key({hmac}, 'HS512', kid => 'weak')",
    ),
    ("imported_jwk", "auth.import_signing_key({jwk}, 'HS256')"),
    ("imported_pem", "auth.import_signing_key({pem}, 'RS256')"),
    (
        "jwks",
        "(SELECT count(*) FROM auth.import_jwks(({jwks})::jsonb, 'other'))",
    ),
    (
        "jwks_fetched",
        "(SELECT count(*) FROM auth.refresh_jwks('other', ({jwks})::jsonb))",
    ),
    ("activated", "auth.activate_signing_key('imported')"),
    (
        "token",
        "auth.issue_jwt('41', claims => '{\"role\":\"x\"}', device => '{\"a\":1}')",
    ),
    ("gone", "auth.issue_jwt('42')"),
    ("verified", "auth.verify_jwt({token})"),
    ("checked", "auth.check_jwt({token})"),
    ("checked_device", "auth.check_jwt({token}, '{\"a\":2}')"),
    ("claims", "auth.verify_jwt_claims({token})"),
    ("decoded", "auth.decode_jwt({token})"),
    ("forged", "auth.verify_jwt({forged})"),
    ("forged_checked", "auth.check_jwt({forged})"),
    ("authenticated", "auth.authenticate({token})"),
    ("for_session", "auth.authenticate({token}, 'session')"),
    ("who", "auth.user_id() || auth.role() || auth.jwt()"),
    ("not_authenticated", "auth.authenticate({forged})"),
    (
        "headers",
        "set_config('request.headers', json_build_object('authorization', 'Bearer ' || {token})::text, false) IS NULL",
    ),
    ("request", "auth.pre_request()"),
    ("told", "auth.receive_security_event({token})"),
    ("logged_out", "auth.logout()"),
    ("refreshed", "auth.refresh_jwt({token}, '{\"a\":1}')"),
    ("refreshed_again", "auth.refresh_jwt({token})"),
    ("revoked", "auth.revoke_jwt({refreshed})"),
    ("revoked_again", "auth.verify_jwt({refreshed})"),
    ("bumped", "auth.bump_session_version('42')"),
    ("ended", "auth.verify_jwt({gone})"),
    ("sso", "auth.issue_sso_token('41')"),
    ("handoff", "auth.exchange_sso_token({sso}, 'app')"),
    ("handoff_again", "auth.exchange_sso_token({sso}, 'app')"),
    (
        "of_handoff",
        "(SELECT token FROM auth.complete_sso({handoff}))",
    ),
    (
        "completed_again",
        "(SELECT token FROM auth.complete_sso({handoff}))",
    ),
    ("mail", "auth.issue_one_time_token('41', 'password_reset')"),
    (
        "validated",
        "auth.validate_one_time_token({mail}, 'password_reset')",
    ),
    (
        "consumed",
        "auth.consume_one_time_token({mail}, 'password_reset')",
    ),
    (
        "consumed_again",
        "auth.consume_one_time_token({mail}, 'password_reset')",
    ),
    (
        "api_key",
        "(SELECT key FROM auth.create_api_key('41', 'ci'))",
    ),
    ("api_key_print", "auth.api_key_fingerprint({api_key})"),
    ("api_key_verified", "auth.verify_api_key({api_key})"),
    ("api_key_checked", "auth.check_api_key({api_key})"),
    ("old_key", "auth.verify_api_key({old_key})"),
    ("hashed_key", "auth.verify_api_key({hashed_key})"),
    ("unknown_key", "auth.check_api_key({unknown_key})"),
    ("by_key", "auth.authenticate_api_key({api_key}, 'session')"),
    ("who_by_key", "auth.user_id() || auth.jwt()"),
    (
        "api_key_ended",
        "auth.revoke_api_key((SELECT id FROM keys WHERE name = 'ci'))",
    ),
    ("api_key_refused", "auth.verify_api_key({api_key})"),
    ("bundle", "auth.export_keys({passphrase})"),
    (
        "bundle_in",
        "(SELECT string_agg(kid, ' ') FROM auth.import_keys({bundle}, {passphrase}) AS kid)",
    ),
    (
        "bundle_wrong",
        "(SELECT string_agg(kid, ' ') FROM auth.import_keys({bundle}, {hmac}) AS kid)",
    ),
    ("secrets_lost", "(SELECT count(*) FROM lose_secrets())"),
    (
        "bundle_back",
        "(SELECT string_agg(kid, ' ') FROM auth.import_keys({bundle}, {passphrase}) AS kid)",
    ),
    (
        "session",
        "(SELECT refresh_token FROM auth.open_session('41', '{\"a\":1}', 'phone', claims => '{\"role\":\"y\"}'))",
    ),
    (
        "session_access",
        "(SELECT access_token FROM auth.refresh_session({session}))",
    ),
    (
        "session_next",
        "(SELECT refresh_token FROM auth.refresh_session({session}))",
    ),
    ("session_unknown", "auth.refresh_session({unknown_key})"),
    ("session_verified", "auth.verify_jwt({session_access})"),
    (
        "session_identity",
        "auth.try_authenticate({session_access})",
    ),
    (
        "sessions",
        "(SELECT string_agg(s::text, ' ') FROM auth.list_sessions('41') AS s)",
    ),
    (
        "session_ended",
        "(SELECT bool_or(auth.end_session(s.session_id)) FROM auth.list_sessions('41') AS s)",
    ),
    ("session_refused", "auth.refresh_session({session_next})"),
    ("tried", "auth.try_authenticate({token})"),
    ("tried_forged", "auth.try_authenticate({forged})"),
    ("health", "auth.health()"),
    ("pruned", "auth.prune()"),
];

/// What of it is secret, beside the octets of the keys.
pub(super) const SECRET: &[&str] = &[
    "hmac",
    "jwk",
    "pem",
    "jwks",
    "old_key",
    "hashed_key",
    "key_hash",
    "unknown_key",
    "token",
    "gone",
    "refreshed",
    "sso",
    "handoff",
    "of_handoff",
    "mail",
    "api_key",
    "passphrase",
    "bundle",
    "session",
    "session_access",
    "session_next",
];
