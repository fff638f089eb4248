-- Once, by a superuser, in the database of the application, which belongs to notes_owner; for a test runner in template1, too.
DO $$ BEGIN
    CREATE ROLE notes_owner LOGIN;
    CREATE ROLE notes_service LOGIN;
EXCEPTION WHEN duplicate_object THEN
END $$;
CREATE EXTENSION IF NOT EXISTS auth_ext;
-- Who runs the migrations, and who serves. The second owns nothing, so that policies hold for it.
SELECT auth.grant_access('notes_owner', 'administrator');
SELECT auth.grant_access('notes_service', 'application'), auth.grant_access('notes_service', 'listener');
