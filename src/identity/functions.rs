//! The SQL functions of the identity. Declared in `sql/functions.sql`.

use jose::Refusal;
use pgrx::datum::Uuid;
use pgrx::prelude::*;

use super::credential::Credential;
use super::request::{self, Outcome};
use super::scope;
use crate::api_key;
use crate::attach;
use crate::error::Result;
use crate::pg::boundary::sql;
use crate::pg::clock;
use crate::pg::json::Jsonb;
use crate::pg::one_row::OneRow;

#[pg_extern(sql = false)]
fn authenticate(token: Option<&str>, scope: Option<&str>) -> Option<Jsonb> {
    sql(|| {
        let scope = scope::parse(scope)?;
        let credential = Credential::of_token(token.ok_or(Refusal::Malformed)?, clock::now())?;
        let claims = credential.claims();
        scope::enter(scope, credential);
        Ok(claims)
    })
}

#[pg_extern(sql = false)]
fn authenticate_api_key(key: Option<&str>, scope: Option<&str>) -> Option<Jsonb> {
    sql(|| {
        let scope = scope::parse(scope)?;
        let attached = api_key::current();
        let key = key.ok_or(Refusal::UnknownApiKey)?;
        let found = api_key::verify(attached.api_keys()?, key, clock::now())?;
        let credential = Credential::of_key(&found)?;
        let claims = credential.claims();
        scope::enter(scope, credential);
        Ok(claims)
    })
}

#[pg_extern(sql = false)]
fn logout() {
    sql(|| {
        scope::leave();
        Ok(())
    });
}

#[pg_extern(sql = false)]
fn authenticate_request() -> OneRow {
    sql(|| {
        let refusal = match request::authenticate()? {
            Outcome::Accepted => None,
            Outcome::Refused(refusal) => Some(refusal),
        };
        Ok(OneRow::default()
            .with(c"reason", refusal.map(Refusal::code))
            .with(c"explanation", refusal.map(Refusal::explanation)))
    })
}

fn user() -> Result<Option<String>> {
    Ok(scope::identity()?.and_then(|identity| identity.user_id()))
}

fn claim_of(name: &str) -> Result<Option<String>> {
    let claims = scope::identity()?.and_then(|identity| identity.claims());
    Ok(claims.and_then(|claims| claims.text_of(name)))
}

#[pg_extern(sql = false)]
fn user_id() -> Option<String> {
    sql(user)
}

#[pg_extern(sql = false)]
fn uid() -> Option<Uuid> {
    sql(|| Ok(user()?.and_then(|id| attach::uuid(&id))))
}

#[pg_extern(sql = false)]
fn jwt() -> Option<Jsonb> {
    sql(|| Ok(scope::identity()?.and_then(|identity| identity.claims())))
}

#[pg_extern(sql = false)]
fn claim(name: &str) -> Option<String> {
    sql(|| claim_of(name))
}

#[pg_extern(sql = false)]
fn role() -> Option<String> {
    sql(|| claim_of("role"))
}

#[pg_extern(sql = false)]
fn require_user() -> String {
    sql(|| user()?.ok_or_else(|| Refusal::NotAuthenticated.into()))
}
