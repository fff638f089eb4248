from django.db import migrations

OPERATIONS = [
    ("SELECT auth.attach_users('auth_user', bump_on => '{password}')", "SELECT auth.detach_users()"),
    ("SELECT auth.attach_api_keys('notes_apikey')", "SELECT auth.detach_api_keys()"),
    # FORCE: also for the owner of the table, as whom the tests run.
    (
        "ALTER TABLE notes_note ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "ALTER TABLE notes_note DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
    ),
    ("CREATE POLICY own ON notes_note USING (owner_id = auth.user_id_bigint())", "DROP POLICY own ON notes_note"),
    (
        "INSERT INTO auth.issuers (issuer, audience) VALUES ('https://notes.example', '{notes}')",
        "DELETE FROM auth.issuers WHERE issuer = 'https://notes.example'",
    ),
    ("SELECT auth.create_signing_key(alg => 'ES256')", migrations.RunSQL.noop),
    ("GRANT SELECT, INSERT, UPDATE ON auth_user TO notes_service", "REVOKE ALL ON auth_user FROM notes_service"),
    ("GRANT SELECT, INSERT, DELETE ON notes_note TO notes_service", "REVOKE ALL ON notes_note FROM notes_service"),
]


class Migration(migrations.Migration):
    dependencies = [("notes", "0001_initial")]
    operations = [migrations.RunSQL(sql, reverse) for sql, reverse in OPERATIONS]
